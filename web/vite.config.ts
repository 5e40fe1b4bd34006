import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

// `base: './'` keeps every address relative: the server rewrites <base href="./"> by the depth of the path it answers,
// so the page works behind any sub-path without being told about it.
export default defineConfig({
  base: './',
  plugins: [
    svelte(),
    // the development server answers every path with the same page, whose base is the root
    { name: 'base', apply: 'serve', transformIndexHtml: (html) => html.replace('<base href="./" />', '<base href="/" />') },
  ],
  build: {
    outDir: '../src/farwatch/server/web',
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0, // the content policy allows no data: fonts or styles, and small files are cached anyway
    modulePreload: { polyfill: false },
  },
  test: { include: ['src/**/*.test.ts'], css: true },
  server: { proxy: { '/api': 'http://127.0.0.1:3280' } },
});
