/* What the reader uses: explanations, controls of the figures, colours, and the start of it all. */

// -------------------------------------------------------------------------------- explanations

const tip = element("tip");
let explained = null;

/* Lines near a place of the window, within its borders. */
function showTip(lines, x, y) {
  tip.replaceChildren(...lines.map((line, i) => {
    const made = document.createElement(i || lines.length === 1 ? "div" : "b");
    made.textContent = line;
    return made;
  }));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const room = document.documentElement.clientWidth;
  const left = x + 14 + width > room - 6 ? x - 14 - width : x + 14;
  const top = y + 14 + height > window.innerHeight - 6 ? y - 14 - height : y + 14;
  tip.style.left = `${Math.max(6, Math.min(left, room - width - 6))}px`;
  tip.style.top = `${Math.max(6, top)}px`;
}

function hideTip() {
  tip.hidden = true;
  explained = null;
}

const termOf = (target) => (
  target instanceof Element ? target.closest("a.term, button[data-explains]") : null);

function explain(target) {
  const key = target.dataset.explains || target.hash.replace("#term-", "");
  const entry = element(`term-${key}`);
  const box = target.getBoundingClientRect();
  showTip([entry.previousElementSibling.textContent, entry.textContent], box.left - 10, box.bottom - 8);
  explained = target;
}

function setUpExplanations() {
  let leaving = 0;
  document.addEventListener("pointerover", (event) => {
    const target = termOf(event.target);
    if (target || tip.contains(event.target)) clearTimeout(leaving);
    if (target && event.pointerType === "mouse") explain(target);
  });
  document.addEventListener("pointerout", (event) => {
    if (!explained || event.pointerType !== "mouse") return;
    // The pointer may go on to the explanation itself.
    leaving = setTimeout(() => { if (explained && !tip.matches(":hover")) hideTip(); }, 200);
  });
  document.addEventListener("focusin", (event) => {
    const target = termOf(event.target);
    if (target && target.matches(":focus-visible")) explain(target);
  });
  document.addEventListener("focusout", () => { if (explained) hideTip(); });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
  // A first touch explains, a second follows the link to the glossary.
  document.addEventListener("click", (event) => {
    const target = termOf(event.target);
    if (target && target.matches("a") && explained !== target) {
      event.preventDefault();
      explain(target);
    } else if (!target && explained) hideTip();
  });
  window.addEventListener("scroll", () => { if (explained) hideTip(); }, { passive: true });
}

// ------------------------------------------------------------------------------------- colours

const THEMES = ["system", "light", "dark"];

function setTheme(theme) {
  const root = document.documentElement;
  if (theme === "system") delete root.dataset.theme;
  else root.dataset.theme = theme;
  element("theme").textContent = `Colours: ${theme === "system" ? "as the system" : theme}`;
}

/* A browser may keep nothing for a file; the page then starts in the colours of the system. */
function storedTheme(theme) {
  try {
    if (theme) localStorage.setItem("clsweep-theme", theme);
    return localStorage.getItem("clsweep-theme");
  } catch (error) {
    return null;
  }
}

function setUpTheme() {
  const button = element("theme");
  const found = storedTheme();
  let theme = THEMES.includes(found) ? found : "system";
  button.hidden = false;
  setTheme(theme);
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    setTheme(theme);
    storedTheme(theme);
  });
}

// ------------------------------------------------------------------------------------ controls

function requirementText(required) {
  const tuned = state.values.slider.finetuning;
  const text = `≥ ${required.toFixed(2)} %`;
  if (tuned === null) return text;
  const below = tuned - required;
  return `${text}, ${Math.abs(below).toFixed(2)} points ${below >= 0 ? "below" : "above"} fine-tuning`;
}

function tableCell(text, isNumber) {
  const made = document.createElement("td");
  made.textContent = text;
  if (isNumber) made.className = "number";
  return made;
}

function requiredRow(series) {
  const row = document.createElement("tr");
  const index = chosenAt(series, state.required);
  let texts = [NOTHING, "not reached", NOTHING];
  if (series.absence) texts = [series.absence, NOTHING, NOTHING];
  if (index !== null) {
    const point = series.points[index];
    const isMissed = point.y[0] !== null && point.y[0] < state.required - 0.0006;
    texts = [point.text, meanText(point.x), meanText(point.y) + (isMissed ? " †" : "")];
  }
  const name = document.createElement("th");
  name.scope = "row";
  const colour = document.createElement("span");
  colour.className = `swatch ${colourClass(series)}`;
  name.append(colour, series.label);
  row.append(name, ...texts.map((text, i) => tableCell(text, i > 0)));
  row.classList.toggle("off", state.hidden.has(series.label));
  return row;
}

function showRequired(value) {
  state.required = value;
  const text = requirementText(value);
  element("required-text").textContent = text;
  element("required").setAttribute("aria-valuetext", text);
  element("at-required").tBodies[0].replaceChildren(...curves().map(requiredRow));
  resort(element("at-required"));
  drawChoices();
}

function button(text, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", act);
  return made;
}

function setRequired(value) {
  element("required").value = value;
  showRequired(value);
}

function setUpSlider() {
  const slider = element("required");
  const { low, high, step, marks } = state.values.slider;
  Object.assign(slider, { min: low, max: high, step, value: state.required });
  slider.disabled = !hasCurves();
  const made = marks.map((one) => button(one.text, () => setRequired(one.value)));
  element("requirements").replaceChildren(...made);
}

function setUpPicks() {
  const select = element("pick");
  const options = state.values.picks.map((pick, i) => new Option(pick.name, String(i)));
  select.replaceChildren(...options);
  select.value = String(state.pick);
  element("pick-control").hidden = options.length < 2;
  element("view-control").hidden = state.values.everything === null;
  if (state.values.everything === null) state.view = "view";
}

function setUpLegend() {
  const shown = state.values.series.filter((series) => series.isDrawn !== false && series.points.length);
  element("legend").replaceChildren(...shown.map((series) => {
    const made = button("", () => {
      const isHidden = !state.hidden.delete(series.label);
      if (isHidden) state.hidden.add(series.label);
      made.setAttribute("aria-pressed", String(!isHidden));
      draw();
    });
    made.setAttribute("aria-pressed", String(!state.hidden.has(series.label)));
    const svg = svgElement("svg", { width: 28, height: 16, class: "figure", "aria-hidden": "true" });
    sample(series, 1, 8, svg);
    made.append(svg, series.label);
    return made;
  }));
  element("figure-notes").textContent = state.values.notes.join("; ");
}

function setUpMeanings() {
  element("marks").replaceChildren(...markMeanings().map((one) => {
    const made = document.createElement("li");
    const text = document.createElement("span");
    text.textContent = one.text;
    made.append(meaningSvg(one.kind), text);
    return made;
  }));
}

/* All points as a table, made when it is asked for. */
function showPoints() {
  const [names, ...rows] = pointRows();
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  names.forEach((name) => {
    const made = document.createElement("th");
    made.scope = "col";
    made.textContent = name.replace(/_/g, " ");
    head.append(made);
  });
  const body = table.createTBody();
  rows.forEach((row) => body.insertRow().append(...row.map((value) => {
    const isNumber = typeof value === "number";
    const text = typeof value === "boolean" ? (value ? "yes" : "") : String(value === null ? NOTHING : value);
    return tableCell(isNumber ? value.toFixed(2) : text, isNumber);
  })));
  element("points").replaceChildren(table);
}

// ------------------------------------------------------------------------------------ matrices

// Cividis (Nuñez, Anderton and Renslow 2018): its lightness is even, in grey too.
const CIVIDIS = [
  [0, 34, 78], [18, 53, 112], [59, 73, 108], [87, 93, 109], [112, 113, 115], [138, 134, 120],
  [165, 156, 116], [195, 179, 105], [254, 232, 56],
];
const MOST_CELLS = 600;

function cividis(share) {
  const place = Math.min(0.9999, Math.max(0, share)) * (CIVIDIS.length - 1);
  const [low, part] = [Math.floor(place), place % 1];
  return CIVIDIS[low].map((value, i) => Math.round(value + part * (CIVIDIS[low + 1][i] - value)));
}

function matrixTable(label) {
  const { first, rows } = state.values.matrices[label];
  const table = document.createElement("table");
  table.className = "matrix";
  table.createCaption().textContent = label;
  const heading = (text, scope, parent) => {
    const made = document.createElement("th");
    made.scope = scope;
    made.textContent = text;
    parent.append(made);
  };
  const head = table.createTHead().insertRow();
  head.append(tableCell("after ↓ on →"));
  rows[0].forEach((_, task) => heading(String(task + 1), "col", head));
  const body = table.createTBody();
  rows.forEach((row, i) => {
    const made = body.insertRow();
    heading(i + first ? String(i + first) : NOTHING, "row", made);
    row.forEach((value) => {
      const cell = tableCell(value === null ? "" : value.toFixed(rows[0].length > 6 ? 0 : 1), true);
      if (value !== null) {
        const { guess, high } = state.values.metric;
        const share = (value - guess) / (high - guess);
        const [red, green, blue] = cividis(Math.min(1, Math.max(0, share)));
        cell.style.background = `rgb(${red} ${green} ${blue})`;
        cell.style.color = 0.3 * red + 0.59 * green + 0.11 * blue > 125 ? "#000" : "#fff";
      }
      made.append(cell);
    });
  });
  return table;
}

function scrollable(table, name) {
  const made = document.createElement("div");
  made.className = "scroll";
  made.tabIndex = 0;
  made.setAttribute("role", "region");
  made.setAttribute("aria-label", name);
  made.append(table);
  return made;
}

function setUpMatrices() {
  if (!element("matrices")) return;
  const labels = Object.keys(state.values.matrices);
  const n = labels.reduce((sum, label) => sum + state.values.matrices[label].rows.flat().length, 0);
  const show = (wanted) => element("matrices").replaceChildren(
    ...wanted.map((label) => scrollable(matrixTable(label), `${label}, accuracy on each task, table`)),
  );
  element("matrix-control").hidden = n <= MOST_CELLS;
  const select = element("matrix-label");
  select.replaceChildren(...labels.map((label) => new Option(label, label)));
  select.onchange = () => show([select.value]);
  show(n <= MOST_CELLS ? labels : labels.slice(0, 1));
}

// ---------------------------------------------------------------------------------------- start

function setUpPairs() {
  const radios = [...document.getElementsByName("pair-measure")];
  const show = () => document.querySelectorAll("[data-measure]").forEach((matrix) => {
    matrix.hidden = !radios.some((one) => one.checked && one.value === matrix.dataset.measure);
  });
  radios.forEach((one) => one.addEventListener("change", show));
  show();
}

function setUpSaving() {
  const save = (id, act) => { if (element(id)) element(id).addEventListener("click", act); };
  save("save-fronts", () => {
    const { svg, place } = state.fronts;
    const legend = legendFigure(place, svg.width.baseVal.value);
    saveFigures(fileName("fronts", "svg"), [svg, legend], 1);
    legend.remove();
  });
  save("save-knobs", () => {
    const figures = state.panels.map((one) => one.svg);
    if (figures.length) saveFigures(fileName("knobs", "svg"), figures, Math.min(3, figures.length));
  });
  save("save-points", () => saveCsv("points", pointRows()));
  save("save-pairs", () => saveCsv("pairs", pairRows()));
  document.querySelectorAll("button[data-csv]").forEach((one) => {
    const table = element(one.dataset.csv);
    one.addEventListener("click", () => saveCsv(table.dataset.file, tableRows(table)));
  });
}

/* Everything that depends on the values, on what is switched off, or on the width. */
function draw() {
  state.active = null;
  hideTip();
  state.panels = [];
  drawFronts();
  makeExplorable(state.fronts);
  drawKnobs();
  showRequired(state.required);
  if (element("points-details").open) showPoints();
}

/* Draw other values: those of a sweep that has gone on. What the reader has chosen stays. */
function show(values) {
  const isNew = state.required === 0;
  state.values = values;
  const { low, high, start } = values.slider;
  state.required = isNew ? start : Math.min(high, Math.max(low, state.required));
  state.pick = Math.min(state.pick, values.picks.length - 1);
  setUpSlider();
  setUpPicks();
  setUpLegend();
  setUpMeanings();
  setUpMatrices();
  draw();
}

function setUpControls() {
  const slider = element("required");
  slider.addEventListener("input", () => showRequired(Number(slider.value)));
  element("pick").addEventListener("change", () => {
    state.pick = Number(element("pick").value);
    setUpMeanings();
    draw();
  });
  document.getElementsByName("view").forEach((one) => one.addEventListener("change", () => {
    state.view = one.value;
    draw();
  }));
  element("points-details").addEventListener("toggle", (event) => {
    if (event.target.open) showPoints();
  });
  let width = 0;
  let waiting = 0;
  new ResizeObserver(() => {
    const now = element("fronts-plot").clientWidth;
    if (now === width) return;
    width = now;
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(draw);
  }).observe(element("fronts-plot"));
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((one) => { one.open = true; });
  });
}

setUpTheme();
setUpExplanations();
document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll("fieldset[data-table]").forEach(makeOptional);
setUpPairs();
setUpSaving();
setUpControls();
show(state.values);
window.clsweepPage = { show };
document.body.dataset.ready = "yes";
