"""The page: restore pictures in a browser, on this machine."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse

import restore
from restore.files import Limits
from restore.files.folder import is_picture_name
from restore.page import adapt, batch, camera, compare, look, sessions, single, texts
from restore.runtime import Runtime

LIMITS = Limits(max_pixels=150_000_000, max_bytes=500_000_000)
KEPT_S = 6 * 3600
"""How long uploads and results can be fetched."""
QUEUE = 64
"""Runs that may wait; further ones are told that the queue is full."""


def build(limits: Limits = LIMITS) -> gr.Blocks:
    """Lay the page out; its files go into a folder of its own, which ends with the process."""
    root = sessions.make_root()
    sessions.remove_at_end(root)
    os.environ["GRADIO_TEMP_DIR"] = str(root / "served")
    os.environ["GRADIO_EXAMPLES_CACHE"] = str(root / "served" / "examples")
    held, runtime = sessions.Sessions(root / "work"), Runtime()
    with gr.Blocks(title="restore", analytics_enabled=False, delete_cache=(KEPT_S // 6, KEPT_S)) as page:
        gr.Markdown("# restore\nPhotographs without the noise, raw and developed.", elem_id="head")
        with gr.Tab("Single", id="single"):
            single.draw(single.Single(held, runtime, limits), samples())
        with gr.Tab("Batch", id="batch"):
            batch.draw(batch.Batch(held, runtime, limits))
        with gr.Tab("Compare", id="compare"):
            compare.draw(compare.Compare(held, runtime, limits))
        with gr.Tab("Adapt", id="adapt"):
            adapt.draw(adapt.Adapt(held, runtime, limits))
        with gr.Tab("Camera", id="camera"):
            camera.draw(camera.Camera(held, limits))
        with gr.Tab("Models", id="models"):
            for card in texts.models():
                gr.Markdown(card, elem_classes="card")
        with gr.Tab("About", id="about"):
            gr.Markdown(texts.about(limits, KEPT_S), elem_classes="card")

        def leave(request: gr.Request) -> None:
            held.end(request.session_hash)

        page.unload(leave)
    return page


def samples() -> list[Path]:
    """Return the sample pictures that came with the package."""
    package = Path(restore.__file__).parent
    for folder in (package / "_samples", package.parent / "samples"):
        if folder.is_dir():
            return [path for path in sorted(folder.iterdir()) if is_picture_name(path.name)]
    return []


class NoRelay:
    """Refuse to fetch addresses for visitors: the server's own files are all it hands out.

    Browsers are told the same: whatever a page contains, they load no picture from elsewhere.
    """

    POLICY = (b"content-security-policy", b"img-src 'self' data: blob:; media-src 'self' data: blob:")

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer 403 where a path names an address."""

        async def told(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), self.POLICY]}
            await send(message)

        path = str(scope.get("path", ""))
        if scope["type"] == "http" and ("file=http" in path or "proxy=" in path):
            await PlainTextResponse("addresses are not fetched", 403)(scope, receive, told)
        else:
            await self.app(scope, receive, told)


def main(host: str = "127.0.0.1", port: int = 7860, *, limits: Limits = LIMITS, queue: int = QUEUE) -> None:
    """Serve the page until it is interrupted.

    Parameters
    ----------
    host
        Address to listen on; the default can be reached from this machine only.
    port
        0 takes a free one from 7860 on.
    queue
        Runs that may wait.
    """
    if host not in ("127.0.0.1", "localhost", "::1"):
        logging.getLogger("restore.page").warning("everyone who reaches %s can use this page; it asks nobody who", host)
    page = build(limits).queue(max_size=queue, default_concurrency_limit=1)
    try:
        page.launch(
            server_name=host,
            server_port=port or None,
            share=False,
            max_file_size=limits.max_bytes,
            enable_monitoring=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            run_history=False,
            quiet=True,
            prevent_thread_lock=True,
            footer_links=["api"],
            theme=look.theme(),
            css=look.CSS,
            app_kwargs={"middleware": [Middleware(NoRelay)]},
        )
    except OSError as error:
        if "empty port" not in str(error):
            raise
        sys.exit(
            f"error: port {port or '7860 or above'} of {host} is in use or not allowed; choose another --port or --host"
        )
    sys.stdout.write(f"The page is at {page.local_url} (Ctrl-C ends it)\n")
    sys.stdout.flush()
    page.block_thread()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7860)
    main(**vars(parser.parse_args()))
