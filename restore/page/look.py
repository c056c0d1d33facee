"""Theme and style: neutral greys that do not tint photographs, one warm accent, fonts of the reader's own machine."""

from __future__ import annotations

import gradio as gr

_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
_MONO = ("ui-monospace", "Consolas", "monospace")


def theme() -> gr.themes.Base:
    """Return the theme; it loads nothing from other servers."""
    made = gr.themes.Base(
        primary_hue="amber",
        secondary_hue="neutral",
        neutral_hue="neutral",
        font=_FONTS,
        font_mono=_MONO,
        radius_size=gr.themes.sizes.radius_md,
    )
    return made.set(
        body_background_fill="#f3f3f2",
        body_background_fill_dark="#161616",
        block_background_fill="#ffffff",
        block_background_fill_dark="#212121",
        block_border_color="#dededc",
        block_border_color_dark="#333333",
        block_label_text_color="#4a4a4a",
        block_label_text_color_dark="#c4c4c4",
        block_info_text_color="#5d5d5d",
        block_info_text_color_dark="#b0b0b0",
        body_text_color_subdued="#5d5d5d",
        body_text_color_subdued_dark="#b0b0b0",
        block_title_text_color="#2b2b2b",
        block_title_text_color_dark="#e4e4e4",
        button_primary_background_fill="#b45309",
        button_primary_background_fill_hover="#92400e",
        button_primary_background_fill_dark="#b45309",
        button_primary_background_fill_hover_dark="#c2610c",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        color_accent="#b45309",
        slider_color="#b45309",
        slider_color_dark="#d97706",
        checkbox_background_color_selected="#b45309",
        checkbox_border_color_selected="#b45309",
        input_background_fill_dark="#1a1a1a",
    )


def follow(name: str) -> str:
    """Return the script by which a box narrower than its crop shows the crop's edges when the sliders are at the end.

    It gets what the event gets, the sliders' values last, and hands it on.
    """
    put = "document.documentElement.style.setProperty"
    sides = " ".join(f"{put}('--{name}-{side}', given.at({at}) / 100);" for side, at in (("x", -2), ("y", -1)))
    return f"(...given) => {{ {sides} return given; }}"


CSS = """
.gradio-container { max-width: 1560px !important; width: 100%; }
#head { padding: 2px 4px 0; }
#head h1 { font-size: 1.35rem; margin: 0; letter-spacing: .01em; }
#head p { margin: 0; color: var(--body-text-color-subdued); }
.report { padding: 0 6px; }
.report p, .report ul { margin: .2em 0; }
.report table { display: block; overflow-x: auto; border-width: 0; }
.report th, .report td { overflow-wrap: normal; word-break: normal; white-space: nowrap; }
.dark { --color-accent: #f59e0b; }
.view .slider-wrap, .crop .slider-wrap,
.view img, .crop img { background: var(--background-fill-secondary) !important; }
.crop img { object-fit: none !important; --x: var(--crop-x, .5); --y: var(--crop-y, .5); }
.crops img { --x: var(--crops-x, .5); --y: var(--crops-y, .5); }
.crop img, .crops img { image-rendering: pixelated; /* in the middle of a wider box; 100% is box less picture */
    object-position: calc(min(100%, 0px) * var(--x) + max(100%, 0px) / 2)
                     calc(min(100%, 0px) * var(--y) + max(100%, 0px) / 2); }
.crops .grid-wrap { max-height: none !important; }
.figures { width: 100%; border-collapse: collapse; font-size: .92rem; }
.figures, .figures tr { border-width: 0 !important; }
.figures th, .figures td { text-align: left; padding: 7px 10px !important; overflow-wrap: anywhere;
    border-style: solid !important; border-color: var(--block-border-color) !important;
    border-width: 0 0 1px !important; }
.figures th { font-weight: 600; color: var(--body-text-color-subdued); white-space: nowrap; }
.stacked .figures td:nth-child(2), .stacked .figures td:nth-child(3) { white-space: nowrap; }
@media (max-width: 480px) {
  .figures th, .figures td { padding: 6px 4px !important; white-space: normal !important; }
  .figures { font-size: .84rem; }
  .stacked .figures thead { display: none; }
  .stacked .figures tr { display: block; padding: 7px 0; }
  .stacked .figures td { display: inline; padding: 0 6px 0 0 !important; border-width: 0 !important; }
  .stacked .figures td:first-child { font-weight: 600; }
  .stacked .figures td:last-child { display: block; }
}
.block.card { border: 1px solid var(--block-border-color); border-radius: 8px; padding: 14px 16px !important;
        background: var(--block-background-fill); max-width: 900px; }
.card h3 { margin-top: 0; }
.card code { overflow-wrap: anywhere; white-space: normal; }
@media (max-width: 480px) { .tab-container button { padding: 0 9px !important; } }
footer .divider { display: none; }
button:focus-visible, input:focus-visible, [tabindex]:focus-visible { outline: 2px solid #d97706; outline-offset: 2px; }
"""
