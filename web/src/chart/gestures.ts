import type uPlot from 'uplot';

export interface GestureTargets {
  range(): readonly [number, number];
  zoom(range: [number, number] | null): void;
  pan(range: [number, number]): void;
}

const HOLD_MS = 350;
const SLOP = 10;

/**
 * What uPlot's mouse does not know: shift-drag and sideways scrolling pan, pinching on a touchpad zooms, and on a touch
 * screen holding and dragging zooms, while a plain drag stays the page's own scrolling.
 */
export function bindGestures(u: uPlot, targets: GestureTargets): () => void {
  const { over } = u;
  const stop = new AbortController();
  const { signal } = stop;
  const perPixel = (): number => {
    const [low, high] = targets.range();
    return (high - low) / Math.max(1, over.clientWidth);
  };

  over.addEventListener('mousedown', (event) => {
    if (!event.shiftKey || event.button !== 0) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    const [low, high] = targets.range();
    const scale = perPixel();
    const from = event.clientX;
    over.classList.add('panning');
    const move = (moved: MouseEvent): void => targets.pan([low - (moved.clientX - from) * scale, high - (moved.clientX - from) * scale]);
    const end = (): void => {
      over.classList.remove('panning');
      removeEventListener('mousemove', move);
    };
    addEventListener('mousemove', move, { signal });
    addEventListener('mouseup', end, { once: true, signal });
  }, { capture: true, signal });

  over.addEventListener('wheel', (event) => {
    const [low, high] = targets.range();
    if (event.ctrlKey) {
      event.preventDefault();
      const at = low + (event.clientX - over.getBoundingClientRect().left) * perPixel();
      const factor = Math.exp(event.deltaY / 120);
      targets.pan([at - (at - low) * factor, at + (high - at) * factor]);
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) {
      event.preventDefault();
      const shift = (event.deltaX || event.deltaY) * perPixel();
      targets.pan([low + shift, high + shift]);
    }
  }, { passive: false, signal });

  let timer: ReturnType<typeof setTimeout> | undefined;
  let held: number | null = null;
  let lastTap = 0;
  const local = (touch: Touch): number => Math.min(over.clientWidth, Math.max(0, touch.clientX - over.getBoundingClientRect().left));
  let begin = { x: 0, y: 0 };

  over.addEventListener('touchstart', (event) => {
    const touch = event.touches[0];
    clearTimeout(timer);
    if (!touch || event.touches.length > 1) return;
    begin = { x: touch.clientX, y: touch.clientY };
    const left = local(touch);
    timer = setTimeout(() => {
      held = left;
      navigator.vibrate?.(8);
    }, HOLD_MS);
  }, { passive: true, signal });

  over.addEventListener('touchmove', (event) => {
    const touch = event.touches[0];
    if (!touch) return;
    if (held === null) {
      if (Math.hypot(touch.clientX - begin.x, touch.clientY - begin.y) > SLOP) clearTimeout(timer);
      return;
    }
    event.preventDefault();
    const at = local(touch);
    u.setSelect({ left: Math.min(held, at), top: 0, width: Math.abs(at - held), height: over.clientHeight }, false);
  }, { passive: false, signal });

  over.addEventListener('touchend', (event) => {
    clearTimeout(timer);
    if (held !== null) {
      event.preventDefault();
      held = null;
      if (u.select.width > 12) u.setSelect({ ...u.select }, true);
      else u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      return;
    }
    const touch = event.changedTouches[0];
    if (!touch || Math.hypot(touch.clientX - begin.x, touch.clientY - begin.y) > SLOP) return;
    const now = Date.now();
    if (now - lastTap < 300) targets.zoom(null);
    lastTap = now;
    u.setCursor({ left: local(touch), top: 1 }, true);
  }, { passive: false, signal });

  return () => {
    clearTimeout(timer);
    stop.abort();
  };
}
