/* The figure of fronts, the panels of the knobs, and what a point says of itself. */

const ROUNDING = 1e-12;
const NOTHING = "–";
const MOST_BARS = 40;
const MOST_SEEDS = 10;
const CATCH = 28;

const element = (id) => document.getElementById(id);
const state = {
  values: JSON.parse(element("values").textContent),
  hidden: new Set(),
  view: "view",
  required: 0,
  pick: 0,
  fronts: null,
  panels: [],
  active: null,
};

const curves = () => state.values.series.filter((series) => series.kind === "curve");
const isShown = (series) => series.isDrawn !== false && !state.hidden.has(series.label);
const hasCurves = () => curves().some((series) => series.points.length > 0);
const percent = (value) => {
  const { low, high } = state.values.metric;
  return Math.min(high, low === null ? value : Math.max(low, value));
};

/* Index of the point with the best validation source accuracy among those whose validation target
   accuracy is high enough; null where there is none. */
function chosenAt(series, requiredPercent) {
  const required = requiredPercent / 100 - state.values.slider.offset;
  let best = null;
  series.points.forEach((point, i) => {
    const [source, target] = point.choice;
    if (source === null || target === null || target < required - ROUNDING) return;
    if (best === null || source > series.points[best].choice[0] + ROUNDING) best = i;
  });
  return best;
}

function pickedOf(series) {
  const found = state.values.picks[state.pick].chosen[series.label];
  return found === undefined ? null : found;
}

function meanText([mean, error]) {
  if (mean === null) return NOTHING;
  return error === null ? mean.toFixed(1) : `${mean.toFixed(1)} ± ${error.toFixed(1)}`;
}

// -------------------------------------------------------------------------------------- fronts

function drawFronts() {
  const place = element("fronts-plot");
  place.querySelectorAll("svg").forEach((old) => old.remove());
  const width = Math.max(280, place.clientWidth);
  const [left, right, bottom, top] = state.values[state.view];
  const figure = axes({
    width, height: Math.round(Math.min(560, Math.max(330, 0.72 * width))),
    x: [left, right], y: [bottom, top],
    xTitle: state.values.axes[0], yTitle: state.values.axes[1],
  }, place);
  figure.place = place;
  state.fronts = figure;
  const layers = {};
  ["requirement", "rest", "seeds", "bars", "lines", "marks", "choices", "active"].forEach((kind) => {
    layers[kind] = figure.layer(kind);
  });
  figure.layers = layers;
  figure.labels = svgElement("g", { class: "labels" }, figure.svg);
  state.values.series.forEach((series, i) => {
    if (series.kind === "curve" && isShown(series)) drawCurve(figure, series, i);
  });
  const taken = [];
  state.values.series.forEach((series, i) => {
    if (series.kind === "reference" && isShown(series)) drawReference(figure, series, i, taken);
  });
  if (state.values.emptiness) {
    const middle = { x: width / 2, y: figure.box.bottom / 2, "text-anchor": "middle" };
    svgText(state.values.emptiness, middle, figure.labels);
  }
  drawChoices();
}

function isInside(figure, x, y) {
  const { left, right, top, bottom } = figure.box;
  return x >= left - 8 && x <= right + 8 && y >= top - 8 && y <= bottom + 8;
}

function drawCurve(figure, series, index) {
  const { layers, px, py } = figure;
  const kind = colourClass(series);
  const front = new Set(series.front);
  const groups = {};
  ["rest", "seeds", "bars", "lines", "marks"].forEach((name) => {
    groups[name] = svgElement("g", { class: kind }, layers[name]);
  });
  groups.rest.classList.toggle("many", series.points.length > MOST_BARS);
  const placed = (point) => point.x[0] !== null && point.y[0] !== null;
  series.points.forEach((point, i) => {
    if (!placed(point)) return;
    const [x, y] = [px(point.x[0]), py(point.y[0])];
    if (!isInside(figure, x, y)) return;
    figure.points.push({ x, y, series: index, point: i });
    if (!front.has(i)) {
      mark(series.style.marker, 3, x, y, "point hollow", groups.rest);
      return;
    }
    point.seeds.forEach(([source, target]) => {
      if (source === null || target === null) return;
      mark("o", 1.8, px(source), py(target), "seed", groups.seeds);
    });
    drawBars(figure, point, groups.bars);
    mark(series.style.marker, 4.6, x, y, "point", groups.marks);
  });
  const places = series.front.map((i) => series.points[i]).filter(placed)
    .map((point) => [px(point.x[0]), py(point.y[0])]);
  svgElement("path", {
    d: pathOf(places), class: "line", "stroke-dasharray": series.style.dashes.join(" "),
  }, groups.lines);
}

/* Mean ± standard error in both directions; none lies beyond what is possible. */
function drawBars(figure, point, parent) {
  const { px, py } = figure;
  const [[x, wide], [y, high]] = [point.x, point.y];
  if (wide !== null) {
    const ends = [percent(x - wide), percent(x + wide)].map((end) => [px(end), py(y)]);
    svgElement("path", { d: pathOf(ends), class: "bar" }, parent);
  }
  if (high !== null) {
    const ends = [percent(y - high), percent(y + high)].map((end) => [px(x), py(end)]);
    svgElement("path", { d: pathOf(ends), class: "bar" }, parent);
  }
}

const SIDES = [[1, -1], [-1, -1], [1, 1], [-1, 1], [1, 0], [-1, 0], [0, -1], [0, 1]];

/* A mark with its name, at the border where it lies outside of the view. */
function drawReference(figure, series, index, taken) {
  const [point] = series.points;
  if (!point || point.x[0] === null || point.y[0] === null) return;
  const { left, right, top, bottom } = figure.box;
  const [trueX, trueY] = [figure.px(point.x[0]), figure.py(point.y[0])];
  const x = Math.min(right, Math.max(left, trueX));
  const y = Math.min(bottom, Math.max(top, trueY));
  const isFilled = series.style.marker === "*";
  mark(series.style.marker, 5.5, x, y, isFilled ? "point end" : "point end open", figure.layers.marks);
  figure.points.push({ x, y, series: index, point: 0 });
  const across = Math.sign(Math.round(trueX - x));
  const down = Math.sign(Math.round(trueY - y));
  let text = series.label.length > 26 ? `${series.label.slice(0, 25)}…` : series.label;
  if (across || down) {
    const arrow = ["↖", "↑", "↗", "←", "", "→", "↙", "↓", "↘"][4 + across + 3 * down];
    text += ` (${point.x[0].toFixed(1)}, ${point.y[0].toFixed(1)}) ${arrow}`;
  }
  const wide = 6.6 * text.length;
  const options = SIDES.map(([sideX, sideY]) => {
    const start = x + 9 * sideX - (sideX < 0 ? wide : sideX === 0 ? wide / 2 : 0);
    const line = y + (sideX === 0 ? 17 : 11) * sideY + 4;
    const box = [start, line - 11, start + wide, line + 3];
    const meets = (other) => (
      box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3]);
    const covered = figure.points.filter((one) => meets([one.x - 4, one.y - 4, one.x + 4, one.y + 4]));
    const beyond = box[0] < left || box[2] > right || box[1] < 0 || box[3] > bottom;
    return { box, line, cost: covered.length + 50 * taken.filter(meets).length + 80 * beyond };
  });
  const best = options.reduce((least, one) => (one.cost < least.cost ? one : least));
  taken.push(best.box);
  svgText(text, { x: rounded(best.box[0]), y: rounded(best.line), class: "name" }, figure.labels);
}

/* Rings of the rule that is picked, squares and line of the required target: in every figure. */
function drawChoices() {
  const figure = state.fronts;
  figure.layers.choices.replaceChildren();
  figure.layers.requirement.replaceChildren();
  if (!hasCurves()) return;
  const y = rounded(figure.py(state.required));
  const { left, right } = figure.box;
  svgElement("path", { d: `M${left} ${y}H${right}`, class: "required-line" }, figure.layers.requirement);
  curves().filter(isShown).forEach((series) => {
    [[pickedOf(series), "ring"], [chosenAt(series, state.required), "square"]].forEach(([i, kind]) => {
      const point = series.points[i === null ? -1 : i];
      if (!point || point.x[0] === null || point.y[0] === null) return;
      choiceMark(kind, figure.px(point.x[0]), figure.py(point.y[0]), figure.layers.choices);
    });
  });
  state.panels.forEach(drawPanelChoices);
}

function choiceMark(kind, x, y, parent) {
  mark(kind === "ring" ? "o" : "s", kind === "ring" ? 9 : 10, x, y, `choice ${kind}`, parent);
}

// --------------------------------------------------------------------------------------- knobs

function drawKnobs() {
  const place = element("knobs-plots");
  place.replaceChildren();
  state.panels = [];
  const shown = state.values.series
    .map((series, index) => ({ series, index }))
    .filter(({ series }) => series.knob && series.points.length > 0 && isShown(series));
  if (shown.length === 0) {
    const none = document.createElement("p");
    none.textContent = "No method has more than one value of a number.";
    place.append(none);
    return;
  }
  const all = shown.flatMap(({ series }) => series.points.flatMap((p) => [p.x[0], p.y[0]]))
    .filter((value) => value !== null);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const margin = 0.08 * Math.max(high - low, 2);
  const ends = [low - margin, Math.min(high, state.values.metric.high) + margin];
  const panels = shown.map(({ series }) => {
    const made = document.createElement("div");
    made.className = "panel";
    made.tabIndex = 0;
    made.setAttribute("role", "application");
    made.setAttribute(
      "aria-label", `${series.label}: both accuracies over ${series.knob.name}. Arrow keys go from point to point.`,
    );
    return made;
  });
  place.append(...panels);
  shown.forEach(({ series, index }, i) => drawPanel(panels[i], series, index, ends));
}

function drawPanel(place, series, index, ends) {
  const known = series.points.filter((point) => point.knob !== undefined);
  const scale = knobScale(series.knob, known.map((point) => point.knob));
  const name = series.label.length > 30 ? `${series.label.slice(0, 29)}…` : series.label;
  const figure = axes({
    width: Math.max(180, place.clientWidth), height: 205, x: scale.ends, y: ends,
    xTicks: scale.ticks, title: name, xTitle: series.knob.name,
  }, place);
  figure.place = place;
  figure.series = series;
  figure.at = (point) => figure.px(scale.at(point.knob));
  figure.layers = {};
  ["requirement", "drawn", "choices", "active"].forEach((kind) => {
    figure.layers[kind] = figure.layer(kind);
  });
  const group = svgElement("g", { class: colourClass(series) }, figure.layers.drawn);
  series.knob.lines.forEach((line) => {
    ["x", "y"].forEach((side) => {
      const places = line.map((i) => series.points[i]).filter((point) => point[side][0] !== null)
        .map((point) => [figure.at(point), figure.py(point[side][0])]);
      const kind = side === "x" ? "line" : "line target";
      svgElement("path", { d: pathOf(places), class: kind }, group);
    });
  });
  const size = series.points.length > MOST_BARS ? 2 : 3;
  series.points.forEach((point, i) => {
    if (point.knob === undefined) return;
    const x = figure.at(point);
    ["x", "y"].forEach((side) => {
      const [mean, error] = point[side];
      if (mean === null) return;
      const y = figure.py(mean);
      if (error !== null && series.points.length <= MOST_BARS) {
        const both = [percent(mean - error), percent(mean + error)].map((end) => [x, figure.py(end)]);
        svgElement("path", { d: pathOf(both), class: "bar" }, group);
      }
      mark(side === "x" ? "o" : "s", size, x, y, side === "x" ? "point" : "point hollow", group);
      figure.points.push({ x, y, series: index, point: i });
    });
  });
  state.panels.push(figure);
  makeExplorable(figure);
}

function drawPanelChoices(figure) {
  figure.layers.choices.replaceChildren();
  figure.layers.requirement.replaceChildren();
  const y = rounded(figure.py(state.required));
  const line = `M${figure.box.left} ${y}H${figure.box.right}`;
  svgElement("path", { d: line, class: "required-line" }, figure.layers.requirement);
  const { series } = figure;
  [[pickedOf(series), "ring"], [chosenAt(series, state.required), "square"]].forEach(([i, kind]) => {
    const point = series.points[i === null ? -1 : i];
    if (!point || point.knob === undefined) return;
    [point.x[0], point.y[0]].filter((mean) => mean !== null).forEach((mean) => {
      choiceMark(kind, figure.at(point), figure.py(mean), figure.layers.choices);
    });
  });
}

// --------------------------------------------------------------------------- what points say

function pointLines(series, point) {
  const { split, seeds } = state.values;
  const lines = [series.label];
  if (point.text) lines.push(point.text);
  if (point.unmeasured) lines.push(`${split}: source ${meanText(point.x)} %`, point.unmeasured);
  else lines.push(`${split}: source ${meanText(point.x)} · target ${meanText(point.y)} %`);
  if (point.validation) {
    const [source, sourceError, target, targetError] = point.validation;
    const texts = [meanText([source, sourceError]), meanText([target, targetError])];
    lines.push(`validation: source ${texts[0]} · target ${texts[1]} %`);
  }
  const text = (value) => (value === null ? NOTHING : value.toFixed(1));
  (point.seeds || []).slice(0, MOST_SEEDS).forEach(([source, target], i) => {
    if (seeds.length > 1) lines.push(`seed ${seeds[i]}: ${text(source)} · ${text(target)}`);
  });
  if (seeds.length > MOST_SEEDS) lines.push(`… and ${seeds.length - MOST_SEEDS} more seeds`);
  return lines;
}

/* Show one point, in the figure that is used and in every other that has it; null for none. */
function setActive(active, figure) {
  state.active = active;
  [state.fronts, ...state.panels].forEach((one) => {
    one.layers.active.replaceChildren();
    if (active === null) return;
    one.points
      .filter((p) => p.series === active.series && p.point === active.point)
      .forEach((p) => svgElement("circle", {
        cx: rounded(p.x), cy: rounded(p.y), r: 8, class: "active-ring", "data-passing": "",
      }, one.layers.active));
  });
  if (active === null) {
    hideTip();
    return;
  }
  const series = state.values.series[active.series];
  const lines = pointLines(series, series.points[active.point]);
  const box = figure.svg.getBoundingClientRect();
  showTip(lines, box.left + active.x, box.top + active.y);
  return lines;
}

function nearest(figure, event) {
  const box = figure.svg.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  let [best, least] = [null, CATCH];
  figure.points.forEach((point) => {
    const distance = Math.hypot(point.x - x, point.y - y);
    if (distance < least) [best, least] = [point, distance];
  });
  return best;
}

/* The next point of a figure from the active one: along its method, or to another method. */
function stepped(figure, key) {
  const points = [...figure.points].sort((a, b) => a.series - b.series || a.x - b.x || b.y - a.y);
  const { active } = state;
  let at = points.findIndex((p) => active && p.series === active.series && p.point === active.point
    && p.x === active.x && p.y === active.y);
  if (key === "Home" || (at < 0 && key !== "End")) return points[0];
  if (key === "End") return points[points.length - 1];
  if (key === "ArrowLeft" || key === "ArrowRight") {
    at += key === "ArrowRight" ? 1 : -1;
    return points[Math.min(points.length - 1, Math.max(0, at))];
  }
  const all = [...new Set(points.map((point) => point.series))];
  const next = all[all.indexOf(points[at].series) + (key === "ArrowDown" ? 1 : -1)];
  return next === undefined ? points[at] : points.find((point) => point.series === next);
}

const STEPS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];

function makeExplorable(figure) {
  const { svg, place } = figure;
  const point = (event) => setActive(nearest(figure, event), figure);
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") setActive(null);
  });
  place.onblur = () => setActive(null);
  place.onkeydown = (event) => {
    if (event.key === "Escape") setActive(null);
    if (!STEPS.includes(event.key) || figure.points.length === 0) return;
    event.preventDefault();
    const lines = setActive(stepped(figure, event.key), figure);
    element("spoken").textContent = lines.join(". ");
  };
}

// -------------------------------------------------------------------------------------- saving

/* Names of all labels that are shown, and what the marks mean, as a figure of its own. */
function legendFigure(parent, width) {
  const svg = svgElement("svg", { width, height: 10, class: "figure passing" }, parent);
  const labels = svgElement("g", { class: "labels" }, svg);
  let [x, y] = [12, 16];
  state.values.series.filter(isShown).forEach((series) => {
    if (!series.points.length) return;
    const wide = 44 + 6.8 * series.label.length;
    if (x > 12 && x + wide > width) [x, y] = [12, y + 20];
    sample(series, x, y, svg);
    svgText(series.label, { x: x + 32, y: y + 4 }, labels);
    x += wide;
  });
  const about = `${document.title}; ${state.values.split} accuracies`;
  [about, ...state.values.notes, ...markMeanings().map((one) => one.text)].forEach((text) => {
    y += 18;
    svgText(text, { x: 12, y: y + 4, class: "note" }, labels);
  });
  svg.setAttribute("height", y + 14);
  svg.setAttribute("viewBox", `0 0 ${width} ${y + 14}`);
  return svg;
}

/* A piece of a label's line with its mark. */
function sample(series, x, y, parent) {
  const group = svgElement("g", { class: colourClass(series) }, parent);
  if (series.kind === "curve") {
    const dashes = series.style.dashes.join(" ");
    svgElement("path", { d: `M${x} ${y}h26`, class: "line", "stroke-dasharray": dashes }, group);
    mark(series.style.marker, 4.6, x + 13, y, "point", group);
    return;
  }
  const kind = series.style.marker === "*" ? "point end" : "point end open";
  mark(series.style.marker, 5, x + 13, y, kind, group);
}

/* What each mark means in plain words, with the mark. */
function markMeanings() {
  const n = state.values.seeds.length;
  const pick = state.values.picks[state.pick].name;
  const found = [
    { kind: "ring", text: `ring: chosen on validation data, ${pick}` },
    { kind: "square", text: "square: keeps most of the source at the required target accuracy" },
    { kind: "required", text: "dotted line: the required target accuracy" },
  ];
  if (n > 1) {
    found.push({ kind: "bars", text: `bars: mean ± standard error of ${n} seeds` });
    found.push({ kind: "seed", text: "faint dot: one seed of a point on the front" });
  }
  if (curves().some((series) => series.front.length < series.points.length)) {
    found.push({ kind: "hollow", text: "small and hollow: not on the front" });
  }
  return hasCurves() ? found : [];
}

function meaningSvg(kind) {
  const svg = svgElement("svg", { width: 28, height: 22, class: "figure", "aria-hidden": "true" });
  if (kind === "ring" || kind === "square") choiceMark(kind, 14, 11, svg);
  if (kind === "required") svgElement("path", { d: "M1 11H27", class: "required-line" }, svg);
  if (kind === "bars") svgElement("path", { d: "M4 11H24M14 2V20", class: "bar plain" }, svg);
  if (kind === "seed") mark("o", 2, 14, 11, "seed plain", svg);
  if (kind === "hollow") mark("o", 3, 14, 11, "point hollow plain", svg);
  return svg;
}
