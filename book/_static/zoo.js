/* The page of the bug zoo can be narrowed down to a part of the package, and to words. Without scripts it is whole. */
document.addEventListener("DOMContentLoaded", () => {
  const rows = [...document.querySelectorAll("table.zoo tbody tr")];
  if (!rows.length) return;
  const room = (row) => row.querySelectorAll("td:first-child code")[1].textContent.split(".")[0];
  const sections = [...new Set(rows.map((row) => row.closest("section")))];
  const bar = document.createElement("form");
  bar.className = "zoo-filter";
  bar.innerHTML =
    '<label>Part <select><option value="">the whole package</option></select></label>' +
    '<label>Words <input type="search" placeholder="collapse, KL, reset ..."></label><output></output>';
  const [select, words, count] = bar.querySelectorAll("select, input, output");
  for (const section of sections) {
    const group = document.createElement("optgroup");
    group.label = section.querySelector("h2").firstChild.textContent;
    for (const name of new Set([...section.querySelectorAll("tbody tr")].map(room))) group.append(new Option(name, name));
    select.append(group);
  }
  const filter = () => {
    const asked = words.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.textContent.toLowerCase().replaceAll("_", " ");
      row.hidden = (select.value && room(row) !== select.value) || !asked.every((word) => text.includes(word.replaceAll("_", " ")));
    }
    for (const section of sections) section.hidden = !section.querySelector("tbody tr:not([hidden])");
    count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
  };
  bar.addEventListener("input", filter);
  bar.addEventListener("submit", (event) => event.preventDefault());
  sections[0].before(bar);
  filter();
});
