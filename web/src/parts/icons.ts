/** Strokes on a grid of 16. */
export const ICONS = {
  expand: 'M9.5 2.5h4v4M6.5 13.5h-4v-4M13.5 2.5l-5 5M2.5 13.5l5-5',
  close: 'M3.5 3.5l9 9M12.5 3.5l-9 9',
  more: 'M3.2 8h.1M8 8h.1M12.8 8h.1',
  search: 'M7 12a5 5 0 1 0 0-10 5 5 0 0 0 0 10ZM10.7 10.7 14 14',
  download: 'M8 2.5v8M4.5 7.5 8 11l3.5-3.5M2.5 13.5h11',
  columns: 'M2.5 3.5h11v9h-11zM6.2 3.5v9M9.8 3.5v9',
  table: 'M2.5 3.5h11v9h-11zM7 3.5v9',
  back: 'M10 3 5 8l5 5',
  chevron: 'M6 3.5 10.5 8 6 12.5',
  down: 'M4 6l4 4 4-4',
  copy: 'M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z',
  check: 'M3 8.5 6.5 12 13 4.5',
  zoomOut: 'M7 12a5 5 0 1 0 0-10 5 5 0 0 0 0 10ZM10.7 10.7 14 14M4.8 7h4.4',
  edit: 'M3 13l.7-2.8 6.8-6.8 2.1 2.1-6.8 6.8zM9 5l2.1 2.1',
  open: 'M9.5 2.5h4v4M13.5 2.5 7.5 8.5M6.5 3.5h-4v10h10v-4',
  tag: 'M2.5 2.5h5.6l5.4 5.4-5.6 5.6-5.4-5.4zM5.2 5.2h.1',
  archive: 'M2.5 3h11v3h-11zM3.5 6v7h9V6M6.5 8.5h3',
  unarchive: 'M2.5 3h11v3h-11zM3.5 6v7h9V6M8 11V8M6.5 9.3 8 7.8l1.5 1.5',
  save: 'M8 2.5v7M4.8 6.7 8 9.8l3.2-3.1M2.5 10.5v3h11v-3',
  pause: 'M5.5 3.5v9M10.5 3.5v9',
  play: 'M5 3l8 5-8 5z',
  bell: 'M8 2.5c2.5 0 4 1.8 4 4.2 0 3 1.2 3.8 1.2 3.8H2.8S4 9.7 4 6.7C4 4.3 5.5 2.5 8 2.5ZM6.5 12.8a1.6 1.6 0 0 0 3 0',
  trash: 'M2.5 4.5h11M6 4.5v-2h4v2M4.2 4.5l.6 9h6.4l.6-9',
} as const;

export type IconName = keyof typeof ICONS;
