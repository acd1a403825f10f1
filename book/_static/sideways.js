/* What is wider than its place is moved sideways, and fades at the side where it goes on (course.css: .goes-on). */
{
  const WIDE = ".cell_output figure, .cell_output .output, .cell_output pre, .wide, .pst-scrollable-table-container, div.math,"
    + " article div.highlight pre, article :is(p, a):has(> img[src*='figure']), div:has(> svg.curves)";
  const mark = (box) => box.classList.toggle("goes-on", box.scrollWidth - box.clientWidth - box.scrollLeft > 3);
  const sizes = new ResizeObserver((seen) => seen.forEach(({ target }) => mark(target)));
  for (const box of document.querySelectorAll(WIDE)) {
    sizes.observe(box);
    box.addEventListener("scroll", () => mark(box), { passive: true });
    for (const picture of box.querySelectorAll("img")) picture.addEventListener("load", () => mark(box));
  }
  if (window.MathJax?.startup?.promise) MathJax.startup.promise.then(() => document.querySelectorAll("div.math").forEach(mark));
}
