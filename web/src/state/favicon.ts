import { stateLook, type Tone } from '../model/states';

const COLOURS: Record<Tone, string> = { good: '#2BA46C', bad: '#E0524C', warn: '#D9940F', lost: '#8E6BDB', quiet: '#8A92A0' };
let shown: string | null = null;

/** Put the state of the page's run into the browser's tab: the mark with a dot in the state's colour. */
export function setFavicon(state: string | null): void {
  const link = document.querySelector<HTMLLinkElement>('link[rel="icon"]');
  if (!link || state === shown) return;
  shown = state;
  link.dataset.plain ??= link.href;
  if (state === null) {
    link.href = link.dataset.plain;
    return;
  }
  const colour = COLOURS[stateLook(state).tone];
  const svg =
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path fill="#B07400" opacity=".5" d="M11 6.6 23 2.5v8.6z"/>' +
    '<path fill="#7A828F" d="M5.2 21.5h7.6L11.7 10H6.3zM5 8.4h8v1.4H5zM9 2 6 4.8h6z"/><rect fill="#E8A317" x="6.9" y="4.9" width="4.2" height="3.4" rx=".5"/>' +
    `<circle cx="18.5" cy="18.5" r="5" fill="${colour}"/></svg>`;
  link.href = `data:image/svg+xml,${encodeURIComponent(svg)}`;
}
