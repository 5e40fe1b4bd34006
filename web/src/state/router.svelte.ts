import { parseRoute, type Route } from '../model/route';

const base = new URL('./', document.baseURI).pathname;

/** The address bar as state. Paths are relative to the page's base, wherever that is. */
class Router {
  path = $state('');
  search = $state('');
  readonly route: Route = $derived(parseRoute(this.path));
  readonly query: URLSearchParams = $derived(new URLSearchParams(this.search));

  constructor() {
    this.#read();
    addEventListener('popstate', () => this.#read());
  }

  #read(): void {
    this.path = location.pathname.startsWith(base) ? location.pathname.slice(base.length) : '';
    this.search = location.search.slice(1);
  }

  href(path: string): string {
    return base + path;
  }

  go(path: string): void {
    history.pushState(null, '', base + path);
    this.#read();
    scrollTo(0, 0);
  }

  /** Change parts of the query in place; null takes a part out. */
  set(parts: Record<string, string | null>): void {
    const query = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(parts)) {
      if (value === null || value === '') query.delete(name);
      else query.set(name, value);
    }
    // commas and tildes are legal in a query and read better than their codes
    const text = query.toString().replaceAll('%2C', ',').replaceAll('%7E', '~').replaceAll('%2F', '/');
    if (text === this.search) return;
    history.replaceState(history.state, '', location.pathname + (text ? `?${text}` : ''));
    this.search = text;
  }

  /** Follow links of this page without loading it again. */
  click = (event: MouseEvent): void => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    if (!link || link.origin !== location.origin || link.target || link.hasAttribute('download') || !link.pathname.startsWith(base)) return;
    const path = link.pathname.slice(base.length);
    if (path.startsWith('api/')) return;
    event.preventDefault();
    this.go(path + link.search);
  };
}

export const router = new Router();
