"""Take pictures of the pages to look at them: `shots.py BASE FOLDER [name ...]` (a mock or a real server at BASE)."""

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

SIZES = {"wide": (1440, 900), "phone": (390, 844)}


def pages(page: Page, base: str) -> dict[str, str]:
    """Addresses of the pages worth looking at, found by the names of the mock's runs."""
    runs = page.request.get(f"{base}/api/v1/runs?limit=100").json()["runs"]
    by_name = {run["name"]: run["short"] for run in runs}
    live = by_name.get("calm-heron", runs[0]["short"] if runs else "none")
    return {
        "home": "",
        "project": "p/digits",
        "sweep": "p/sweep?runs=" + ",".join(run["short"] for run in runs if run["project"] == "sweep"),
        "run": f"r/{live}",
        "failed": f"r/{by_name.get('plain-newt', live)}",
        "resumed": f"r/{by_name.get('tall-fox', live)}",
        "wide": f"r/{by_name.get('wide-whale', live)}",
        "samples": f"r/{live}/samples",
        "console": f"r/{live}/console",
        "system": f"r/{live}/system",
        "config": f"r/{live}/config",
        "files": f"r/{live}/files",
        "history": f"r/{by_name.get('tall-fox', live)}/history",
        "alerts": "alerts",
        "rules": "alerts/rules",
        "launch": "launch",
        "full": f"r/{live}?full=train/loss&smooth=0.6",
    }


def main(base: str, folder: Path, wanted: list[str]) -> None:
    """Shoot every wanted page in every size and theme; print what went wrong in the browser."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        for size, (width, height) in SIZES.items():
            for theme in ("light", "dark"):
                phone = size == "phone"
                context = browser.new_context(
                    viewport={"width": width, "height": height}, color_scheme=theme, has_touch=phone, is_mobile=phone,
                    device_scale_factor=1 if size == "wide" else 2,
                )  # fmt: skip
                page = context.new_page()
                page.on("console", lambda message: message.type in ("error", "warning") and print("console:", message.text))
                page.on("pageerror", lambda error: print("page error:", error))
                for name, path in pages(page, base).items():
                    if wanted and name not in wanted and f"{name}-{size}-{theme}" not in wanted:
                        continue
                    page.goto(f"{base}/{path}")
                    page.wait_for_timeout(1200)
                    page.screenshot(path=folder / f"{name}-{size}-{theme}.png")
                    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
                    top = page.evaluate("Math.round(document.querySelector('.cell')?.getBoundingClientRect().top ?? -1)")
                    seen = page.evaluate(
                        "[...document.querySelectorAll('.cell')]"
                        ".filter(c => c.getBoundingClientRect().bottom <= innerHeight).length"
                    )
                    print(f"{name}-{size}-{theme}: first chart at {top}, {seen} whole charts, overflow {overflow}")
                context.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"), Path(sys.argv[2]), sys.argv[3:])
