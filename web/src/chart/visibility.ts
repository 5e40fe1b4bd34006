/** Calls back as an element comes near the viewport or leaves it: one observer for all charts of the page. */
const callbacks = new WeakMap<Element, (near: boolean) => void>();
let observer: IntersectionObserver | undefined;

export function whenNear(element: Element, callback: (near: boolean) => void): () => void {
  observer ??= new IntersectionObserver(
    (entries) => {
      for (const entry of entries) callbacks.get(entry.target)?.(entry.isIntersecting);
    },
    // enough to be ready when scrolled to, little enough that a thousand charts cost a screenful
    { rootMargin: '320px 0px' },
  );
  callbacks.set(element, callback);
  observer.observe(element);
  return () => {
    observer?.unobserve(element);
    callbacks.delete(element);
  };
}
