/* The search: BM25 over the prose of sections, with headings, titles and kinds of pages weighed. Loaded by search.html. */
document.addEventListener("DOMContentLoaded", () => {
  const COMMON = new Set(
    ("a about an and any are as at be been but by can cannot could did do does doing for from get gets go had has have how i if in into is it its " +
      "me mean means my need no not of on or our should so than that the them then there these they this to use want was we what when where which while " +
      "who why will with work works would you your").split(" "));
  const SAME = { gae: "generalised advantage lambda", install: "install laptop", installation: "install laptop", long: "run time minutes" };
  const KINDS = [[/^notebooks\//, 1.35], [/^api\//, 0.6], [/^changelog/, 0.3], [/^instructor/, 0.5], [/^(contribute|presets|compared|paper_map|teachers|syllabi)/, 0.7], [/^bibliography/, 0.4]];
  const stem = (word) =>
    word.length < 4 ? word : word.replace(/(?:ies)$/, "y").replace(/(?:ing|edly|ed|ly|es|s|e)$/, "").replace(/(.)\1$/, "$1");
  const wordsOf = (text) => (text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []);
  const kind = (name) => KINDS.find(([pattern]) => pattern.test(name))?.[1] ?? 1;

  const sections = [];
  for (const [page, title, parts] of window.WM_SEARCH)
    for (const [anchor, heading, text] of parts) {
      const counts = new Map();
      const count = (words, weight) => { for (const word of words) counts.set(stem(word), (counts.get(stem(word)) ?? 0) + weight); };
      count(wordsOf(title), 2);
      if (heading !== title) count(wordsOf(heading), 3);
      const words = wordsOf(text);
      count(words, 1);
      sections.push({ page, title, anchor, heading, text, counts, length: words.length + 12 });
    }
  const mean = sections.reduce((sum, section) => sum + section.length, 0) / sections.length;
  const frequency = new Map();
  for (const { counts } of sections) for (const word of counts.keys()) frequency.set(word, (frequency.get(word) ?? 0) + 1);
  const rarity = (word) => Math.log(1 + (sections.length - (frequency.get(word) ?? 0) + 0.5) / ((frequency.get(word) ?? 0) + 0.5));

  /* Sections in which what is asked stands, the best first, by page: [[page, score, sections], ...] */
  const search = (query) => {
    const asked = wordsOf(query).filter((word) => !COMMON.has(word)).flatMap((word) => SAME[word]?.split(" ") ?? [word]).map(stem);
    const pages = new Map();
    for (const section of sections) {
      let score = 0, found = 0;
      for (const word of asked) {
        const count = section.counts.get(word) ?? 0;
        if (!count) continue;
        found++;
        score += rarity(word) * (count * 2.2) / (count + 1.2 * (0.35 + 0.65 * section.length / mean));
      }
      if (!found) continue;
      score *= kind(section.page) * (found / asked.length) ** 1.5;
      if (!pages.has(section.page)) pages.set(section.page, []);
      pages.get(section.page).push({ section, score });
    }
    return [...pages]
      .map(([page, hits]) => {
        hits.sort((one, other) => other.score - one.score);
        return [page, hits[0].score + 0.25 * hits.slice(1, 4).reduce((sum, hit) => sum + hit.score, 0), hits, asked];
      })
      .sort((one, other) => other[1] - one[1]);
  };
  window.wmSearch = search;

  const marked = (text, asked) => {
    const words = [...text.matchAll(/[\p{L}\p{N}]+/gu)], hit = words.filter((word) => asked.includes(stem(word[0].toLowerCase())));
    const start = Math.max(0, (hit[0]?.index ?? 0) - 90), end = start + 260;
    const piece = document.createElement("p");
    let at = start;
    if (start) piece.append("... ");
    for (const word of hit.filter((word) => word.index + word[0].length < end)) {
      piece.append(text.slice(at, word.index), Object.assign(document.createElement("mark"), { textContent: word[0] }));
      at = word.index + word[0].length;
    }
    piece.append(text.slice(at, end), end < text.length ? " ..." : "");
    return piece;
  };

  const place = document.getElementById("search-results");
  const query = new URLSearchParams(location.search).get("q") ?? "";
  for (const input of document.querySelectorAll('input[name="q"]')) input.value = query;
  if (!query.trim()) return;
  const results = search(query).slice(0, 20), list = document.createElement("ol");
  list.className = "search";
  for (const [page, , hits, asked] of results) {
    const item = document.createElement("li");
    for (const { section } of hits.slice(0, 2)) {
      const link = document.createElement("a");
      link.href = section === hits[0].section || hits[0].section.heading !== section.heading ? `${page}#${section.anchor}` : page;
      link.textContent = section === hits[0].section ? section.title : section.heading;
      item.append(link);
      if (section === hits[0].section && section.heading !== section.title) item.append(Object.assign(document.createElement("span"), { textContent: ` ${section.heading}` }));
      item.append(marked(section.text, asked));
    }
    list.append(item);
  }
  const said = document.createElement("p");
  said.setAttribute("role", "status");
  said.textContent = results.length ? `${results.length === 20 ? "The best 20" : results.length} pages.` : "Nothing was found. Other words may help: the glossary has those of the course.";
  place.replaceChildren(said, list);
});
