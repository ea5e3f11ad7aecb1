// Draws the figures: on screen each one when it becomes visible, on paper all of them.
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const specs = read("chart-specs"), themes = read("chart-themes");
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const phone = window.matchMedia("(max-width: 40rem)");
const actions = { export: true, source: false, compiled: false, editor: false };
const places = [...document.querySelectorAll("[data-chart]")];

// -- On a narrow page -----------------------------------------------------------------------

// Names beside a panel are small and cut late, because two of them may begin alike.
const NAMES = { labelFontSize: 9, labelLimit: 145 };

// The maximum width of a panel: less with names at its side; cells of a grid stay readable.
function widest(part, room) {
  const { x, y } = (part.layer ?? [part])[0].encoding ?? {};
  if (y?.type !== "nominal") return room;
  return x?.type === "quantitative" ? room + 60 - NAMES.labelLimit : Infinity;
}

// The same figure for a narrow page: panels below each other, none wider than the page, and long
// names cut short.
function narrow(part, room, limit = room - 30) {
  if (Array.isArray(part)) return part.map((item) => narrow(item, room, limit));
  if (part === null || typeof part !== "object") return part;
  const found = {};
  for (const [key, value] of Object.entries(part)) {
    if (key === "datasets") found[key] = value;
    else if (key === "columns" && typeof value === "number") found[key] = 1;
    else if (key === "width" && typeof value === "number") found[key] = Math.min(value, widest(part, room));
    else if (key === "gradientLength") found[key] = Math.min(value, room / 2);
    else if (key === "labelLimit") found[key] = limit;
    else found[key === "hconcat" ? "vconcat" : key] = narrow(value, room, key === "axis" ? room / 2 : limit);
  }
  if (found.type === "nominal" && found.axis) Object.assign(found.axis, NAMES);
  return found;
}

// -- On the screen --------------------------------------------------------------------------

async function draw(place) {
  const config = themes[dark.matches ? "dark" : "light"];
  const whole = specs[place.dataset.chart];
  const spec = phone.matches ? narrow(whole, Math.max(place.clientWidth - 90, 180)) : whole;
  const { view } = await window.vegaEmbed(place, spec, { config, actions, renderer: "svg" });
  place.querySelector("summary")?.setAttribute("aria-label", "Save this figure");
  const tell = (name, detail) => place.dispatchEvent(new CustomEvent(name, { bubbles: true, detail }));
  view.addEventListener("click", (event, item) => item?.datum && tell("mark", item.datum));
  tell("drawn", Object.values(spec.datasets).flat());
}

const seen = new Set();
function drawOpen() {
  for (const place of places) {
    if (!seen.has(place) && !place.closest("details:not([open])")) { seen.add(place); draw(place); }
  }
}
document.querySelectorAll("details").forEach((part) => part.addEventListener("toggle", drawOpen));
drawOpen();
for (const query of [dark, phone]) query.addEventListener("change", () => seen.forEach(draw));

// -- On paper -------------------------------------------------------------------------------

// Paper is always light and wide, so it gets figures of its own beside those of the screen.
// Printing does not wait for timers or requests, only for promises that need neither; drawing a
// figure that holds its data needs neither.
let printed = [];
addEventListener("beforeprint", () => {
  printed = places.map((place) => {
    const paper = document.createElement("div");
    paper.className = "paper";
    place.after(paper);
    const options = { config: themes.light, actions: false, renderer: "svg" };
    return [paper, window.vegaEmbed(paper, specs[place.dataset.chart], options)];
  });
});
addEventListener("afterprint", () => {
  for (const [paper, drawn] of printed) { paper.remove(); drawn.then((result) => result.finalize()); }
  printed = [];
});
