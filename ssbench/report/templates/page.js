// Sorts and filters the tables and shows the runs behind a row. All text is set as textContent:
// names come from files and are never read as markup.
const data = JSON.parse(document.getElementById("run-data").textContent);
const all = (selector, place = document) => [...place.querySelectorAll(selector)];

function make(tag, options = {}, children = []) {
  const element = document.createElement(tag);
  const { text, ...attributes } = options;
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const plain = (cell) =>
  [...cell.childNodes].filter((node) => node.nodeName !== "SUP").map((node) => node.textContent).join("").trim();

// -- The runs behind a row ------------------------------------------------------------------

const dialog = document.getElementById("runs");

const list = (facts) =>
  make("dl", {}, facts.flatMap(([what, index]) => [
    make("dt", { text: what }), make("dd", { text: data.texts[index] }),
  ]));

function stages(run) {
  const head = make("tr", {}, data.stages.map((title, index) =>
    make("th", { text: title, scope: "col", ...(index ? {} : { class: "text" }) })));
  const body = run.stages.map((cells) => make("tr", {}, cells.map((cell, index) =>
    index ? make("td", { text: cell }) : make("th", { text: cell, scope: "row" }))));
  const table = make("table", {}, [make("thead", {}, [head]), make("tbody", {}, body)]);
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Stages of ${run.run}` }, [table]);
}

function curve([title, epochs, values]) {
  const low = Math.min(...values), high = Math.max(...values);
  const points = values.map((value, index) =>
    `${(100 * index / (values.length - 1)).toFixed(1)},${(38 - 36 * (value - low) / (high - low || 1)).toFixed(1)}`);
  const said = `${title}: ${values[0]} after the first of ${epochs} epochs, ${values.at(-1)} after the last, ${low} at its lowest`;
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  for (const [name, value] of [["viewBox", "0 0 100 40"], ["preserveAspectRatio", "none"], ["aria-hidden", "true"]]) drawing.setAttribute(name, value);
  line.setAttribute("points", points.join(" "));
  drawing.append(line);
  return make("figure", {}, [drawing, make("figcaption", { text: said })]);
}

function details(run, open) {
  const ended = run.failed === undefined ? data.texts[(run.facts.find(([what]) => what === "Test error") ?? [])[1]] ?? "" : "failed";
  const part = make("details", open ? { open: "" } : {}, [
    make("summary", { text: `Seed ${run.seed}: ${ended}` }),
    make("p", { class: "note", text: `Run ${run.run}` }),
  ]);
  if (run.failed !== undefined) part.append(make("p", { class: "warning", text: `Failed in ${run.failed}` }));
  part.append(list(run.facts), stages(run));
  if (run.curves.length) part.append(make("div", { class: "curves" }, run.curves.map(curve)));
  part.append(make("h3", { text: "Repeat the run, and print its records" }));
  part.append(...run.commands.map((command) => make("pre", { text: command })));
  if (run.guessed) part.append(make("p", { class: "note", text: GUESSED }));
  return part;
}

const GUESSED = "This record lacks the command that made it: for an experiment of your own or changed values, "
  + "use its file and the same --set.";
const NOTE = "A run's name ends in a hash of everything that can change its result: if yours has another name, "
  + "something differs (the version of ssbench, a value, the data). In the folder of these records the run is "
  + "already done: name another folder with --results.";

function open(title, parts) {
  const close = make("button", { type: "button", class: "plain", text: "Close" });
  close.addEventListener("click", () => dialog.close());
  dialog.replaceChildren(make("header", {}, [make("h2", { id: "runs-title", text: title }), close]), ...parts);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function show(row, chosen) {
  open(`${row.name}, ${row.budget}`, [
    list(row.facts),
    ...row.runs.map((run) => details(run, chosen ? run.run === chosen : row.runs.length === 1)),
    make("p", { class: "note", text: NOTE }),
  ]);
}

dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

// Turns the text of a cell, without its footnote marks, into a button.
function press(cell, action, label) {
  const button = make("button", { type: "button", ...(label ? { "aria-label": label, title: label } : {}) });
  button.append(...[...cell.childNodes].filter((node) => node.nodeName !== "SUP"));
  cell.prepend(button);
  button.addEventListener("click", (event) => { event.stopPropagation(); action(); });
}

function openable(line, row) {
  const name = line.querySelector("th[scope=row]:not(.part)");
  press(name, () => show(row), `${row.name}, ${row.budget}: its runs`);
  line.addEventListener("click", () => { if (!String(getSelection())) show(row); });
}

// -- Sorting --------------------------------------------------------------------------------

const UNITS = { k: 1e3, M: 1e6, G: 1e9, T: 1e12 };

// The number that the cell begins with, else its text; null for a dash or nothing.
function value(cell) {
  const text = plain(cell);
  if (text === "" || text === "\u2013") return null;
  const found = /^(-?[\d.]+(?:e[+-]?\d+)?)([kMGT])?(?![\w])/.exec(text);
  return found ? Number(found[1]) * (UNITS[found[2]] ?? 1) : text.toLowerCase();
}

// Numbers come before words; absent values stay last in both directions.
function compare(one, other, sign) {
  if (one === null || other === null) return (one === null) - (other === null);
  if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
  return sign * (typeof one === "number" ? one - other : one.localeCompare(other));
}

function sortable(table) {
  const lines = all("tbody tr", table).map((line) => [line, line.parentNode]);
  const heads = all("thead th", table);
  const said = document.getElementById("said");
  heads.forEach((head, column) => press(head, () => {
    const next = { none: "ascending", ascending: "descending", descending: "none" }[head.getAttribute("aria-sort") ?? "none"];
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    if (next === "none") {
      lines.forEach(([line, home]) => home.append(line));
    } else {
      head.setAttribute("aria-sort", next);
      const sign = next === "ascending" ? 1 : -1;
      const keyed = lines.map(([line]) => [value(line.cells[column]), line]);
      keyed.sort(([one], [other]) => compare(one, other, sign));
      lines[0][1].append(...keyed.map(([, line]) => line));
    }
    said.textContent = next === "none" ? "In the order of the report." : `Sorted by ${plain(head)}, ${next}.`;
  }));
}

const modelOf = (table) => table.closest("section").dataset.model;

// Gives every line its own copy of shared cells, so that lines can be moved.
function split(table) {
  for (const body of table.tBodies) {
    const shared = all("th[rowspan]", body);
    const model = modelOf(table);
    for (const cell of shared) {
      cell.removeAttribute("rowspan");
      cell.setAttribute("scope", "row");
      cell.className = "part";
      if (cell.cellIndex === 0 && !cell.textContent && shared.length > 1) { cell.textContent = model; cell.className = "part again"; }
    }
    for (const line of [...body.rows].slice(1)) {
      line.prepend(...shared.map((cell) => make("th", { scope: "row", class: "part again", text: cell.textContent })));
    }
  }
  let above = "";
  for (const cell of all("td.model", table)) {
    if (!cell.textContent) { cell.textContent = above; cell.classList.add("again"); }
    above = cell.textContent;
  }
}

// -- Filtering ------------------------------------------------------------------------------

const lines = [];

function choice(title, values) {
  const select = make("select", {}, [make("option", { value: "", text: "all" })]);
  select.append(...values.map((name) => make("option", { value: name, text: name })));
  return [select, make("label", { text: title }, [select])];
}

function filters() {
  const form = document.getElementById("filters");
  const distinct = (key) => [...new Set(lines.map((line) => line[key]))].filter(Boolean);
  const [model, modelLabel] = choice("Model", distinct("model"));
  const [budget, budgetLabel] = choice("Budget", distinct("budget"));
  const method = make("input", { type: "search", autocomplete: "off", spellcheck: "false" });
  const methodLabel = make("label", { text: "Method contains" }, [method]);
  const clear = make("button", { type: "button", class: "plain", text: "Clear" });
  const count = make("output", { "aria-live": "polite" });
  function apply() {
    const words = method.value.trim().toLowerCase();
    let shown = 0, total = 0;
    for (const line of lines) {
      const fits = (!model.value || line.model === model.value) && (!budget.value || line.budget === budget.value)
        && line.method.toLowerCase().includes(words);
      line.element.hidden = !fits;
      total += line.counts;
      shown += fits ? line.counts : 0;
    }
    for (const part of all("section[data-model]")) part.hidden = Boolean(model.value) && part.dataset.model !== model.value;
    count.textContent = shown === total ? `${total} rows` : `${shown} of ${total} rows`;
  }
  form.append(modelLabel, methodLabel, budgetLabel, clear, count);
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  clear.addEventListener("click", () => { form.reset(); apply(); });
  form.hidden = false;
  apply();
}

// -- Set up the page ------------------------------------------------------------------------

document.body.append(make("p", { id: "said", class: "unseen", "aria-live": "polite" }));
for (const table of all("table[data-rows]")) {
  const rows = data.tables[table.dataset.rows];
  split(table);
  const main = table.querySelector("thead th").textContent === "model";
  let index = 0;
  for (const line of all("tbody tr", table)) {
    const published = line.parentNode.className === "published";
    const row = published ? undefined : rows[index++];
    if (published) line.className = "published";
    const method = plain(line.querySelector("th[scope=row]:not(.part)"));
    const model = modelOf(table) ?? row?.model ?? plain(line.cells[0]).replace(/, published$/, "");
    lines.push({ element: line, model, method, budget: row?.budget ?? "published", counts: main ? 1 : 0 });
    if (row) openable(line, row);
  }
  table.dataset.live = "";
  if (main && modelOf(table)) table.dataset.main = "";
  sortable(table);
}
for (const table of all("table[data-layers]")) {
  const rows = data.tables[table.dataset.layers];
  for (const line of all("tbody tr", table)) {
    const method = plain(line.cells[0]);
    const row = rows.find((other) => other.name === method && other.budget === table.dataset.budget);
    lines.push({ element: line, model: modelOf(table), method, budget: table.dataset.budget, counts: 0 });
    if (row) openable(line, row);
  }
  table.dataset.live = "";
  sortable(table);
}
for (const table of all("table[data-failed]")) {
  for (const line of all("tbody tr", table)) {
    const name = plain(line.cells[0]);
    const row = Object.values(data.tables).flat().find((other) => other.runs.some((run) => run.run === name));
    if (row) press(line.cells[0], () => show(row, name));
  }
  sortable(table);
}
filters();
