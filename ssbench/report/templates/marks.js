// -- The rows behind the marks of a figure --------------------------------------------------

const share = (budget) => budget.split(" of ")[0];

// The rows that a mark's datum speaks of: of one method, or of two whose masks it compares, and
// where it says so of one budget.
function behind(place, datum) {
  const methods = datum.method === undefined ? [datum.first, datum.second] : [datum.method];
  const own = data.tables[place.closest("section").dataset.part] ?? Object.values(data.tables).flat();
  return methods.flatMap((method) => {
    const named = own.filter((row) => row.name === method);
    if (datum.budget === undefined) return named;
    const exact = named.filter((row) => row.mark === datum.budget);
    return exact.length ? exact : named.filter((row) => share(row.mark) === share(datum.budget));
  });
}

// What several rows have in common, for a heading: their methods, and their budget if it is one.
function title(rows) {
  const distinct = (values) => [...new Set(values)];
  const names = distinct(rows.map((row) => row.name)).join(" and ");
  const budgets = distinct(rows.map((row) => row.budget)), shares = distinct(budgets.map(share));
  if (budgets.length === 1) return `${names}, ${budgets[0]}`;
  return shares.length === 1 ? `${names}, ${shares[0]}` : names;
}

// A mark that stands for several rows lets choose: the average rank of a method, for instance.
function choose(rows) {
  if (rows.length === 1) return show(rows[0]);
  const alone = new Set(rows.map((row) => row.name)).size === 1;
  open(title(rows), rows.map((row) => {
    const text = `${alone ? "" : `${row.name}, `}${row.budget}, ${row.model}`;
    const button = make("button", { type: "button", class: "plain", text });
    button.addEventListener("click", () => show(row));
    return make("p", {}, [button]);
  }));
}

document.addEventListener("mark", (event) => {
  const rows = behind(event.target, event.detail);
  if (rows.length) choose(rows);
});

// What a click on a mark does, for those who use no pointer.
document.addEventListener("drawn", (event) => {
  const place = event.target;
  const figure = place.closest("figure");
  if (figure.querySelector(".behind")) return;
  const found = new Map();
  for (const datum of event.detail) {
    const rows = behind(place, datum);
    // Two masks are compared in both directions.
    const key = rows.map((row) => `${row.name}, ${row.mark}`).sort().join();
    if (rows.length && !found.has(key)) found.set(key, rows);
  }
  if (!found.size) return;
  const [select, label] = choice("Runs behind a mark", []);
  const choices = [...found.values()];
  select.replaceChildren(...choices.map((rows, index) => make("option", { value: index, text: title(rows) })));
  const button = make("button", { type: "button", class: "plain", text: "Show" });
  button.addEventListener("click", () => choose(choices[select.value]));
  figure.append(make("div", { class: "behind" }, [label, button]));
});

// -- On paper all is open -------------------------------------------------------------------

let folded = [];
addEventListener("beforeprint", () => {
  folded = all("main details:not([open])").filter((part) => !part.closest(".chart"));
  for (const part of folded) part.open = true;
});
addEventListener("afterprint", () => { for (const part of folded) part.open = false; });

