/* Chapters a reader has finished, remembered by the browser: ticked at the end of a chapter, shown in the list of pages. */
document.addEventListener("DOMContentLoaded", () => {
  const KEY = "wm-finished";
  const named = (address) => new URL(address, location).pathname.match(/\/notebooks\/(\d\d)_\w+\.html$/)?.[1];
  const read = () => {
    try { return new Set(JSON.parse(localStorage.getItem(KEY) ?? "[]")); } catch { return new Set(); }
  };
  const here = named(location.href);
  const show = () => {
    const finished = read();
    for (const link of document.querySelectorAll(".bd-sidebar-primary a.reference.internal, .sd-card-title a")) {
      const chapter = named(link.getAttribute("href") === "#" ? location.href : link.href);
      if (chapter) link.classList.toggle("finished", finished.has(chapter));
    }
  };
  show();
  const end = document.querySelector(".prev-next-footer");
  if (!here || !end) return;
  const label = document.createElement("label");
  label.className = "finish";
  label.innerHTML = '<input type="checkbox"> I have finished this chapter';
  const box = label.firstChild;
  box.checked = read().has(here);
  box.addEventListener("change", () => {
    const finished = read();
    finished[box.checked ? "add" : "delete"](here);
    try { localStorage.setItem(KEY, JSON.stringify([...finished].sort())); } catch { /* private windows keep nothing */ }
    show();
  });
  end.before(label);
});
