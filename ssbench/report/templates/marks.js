// -- The rows behind the marks of a figure --------------------------------------------------

const share = (budget) => budget.split(" of ")[0];

// The rows of a mark's datum: of one method, or of the two whose masks it compares, and of one
// budget if it names one.
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

// A heading for several rows: their methods, and their budget if they share it.
function title(rows) {
  const distinct = (values) => [...new Set(values)];
  const names = distinct(rows.map((row) => row.name)).join(" and ");
  const budgets = distinct(rows.map((row) => row.budget)), shares = distinct(budgets.map(share));
  if (budgets.length === 1) return `${names}, ${budgets[0]}`;
  return shares.length === 1 ? `${names}, ${shares[0]}` : names;
}

// A mark for several rows, for instance a method's average rank, offers a choice.
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

// The same as a click on a mark, without a pointer.
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

// -- On paper everything is open ------------------------------------------------------------

let folded = [];
addEventListener("beforeprint", () => {
  folded = all("main details:not([open])").filter((part) => !part.closest(".chart"));
  for (const part of folded) part.open = true;
});
addEventListener("afterprint", () => { for (const part of folded) part.open = false; });

