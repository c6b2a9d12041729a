/* Shapes, scales, ticks and axes of figures. Text is only ever set as text. */

const NAMESPACE = "http://www.w3.org/2000/svg";

function svgElement(name, attributes, parent) {
  const made = document.createElementNS(NAMESPACE, name);
  Object.entries(attributes || {}).forEach(([key, value]) => made.setAttribute(key, value));
  if (parent) parent.append(made);
  return made;
}

function svgText(text, attributes, parent) {
  const made = svgElement("text", attributes, parent);
  made.textContent = text;
  return made;
}

// --------------------------------------------------------------------------------------- marks

const rounded = (value) => Math.round(value * 100) / 100;

/* Corners on circles around the middle, the first one upwards. */
function polygon(corners, radii, turn) {
  const at = (i) => {
    const angle = (2 * Math.PI * i) / corners + turn - Math.PI / 2;
    const radius = radii[i % radii.length];
    return `${rounded(radius * Math.cos(angle))} ${rounded(radius * Math.sin(angle))}`;
  };
  return `M${Array.from({ length: corners }, (_, i) => at(i)).join("L")}z`;
}

/* Strokes from the middle, in degrees from upwards. */
function strokes(radius, angles) {
  return angles.map((angle) => {
    const turned = (angle * Math.PI) / 180;
    return `M0 0L${rounded(radius * Math.sin(turned))} ${rounded(-radius * Math.cos(turned))}`;
  }).join("");
}

const SHAPES = {
  o: (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
  s: (r) => `M${-r} ${-r}H${r}V${r}H${-r}z`,
  "^": (r) => polygon(3, [1.25 * r], 0),
  v: (r) => polygon(3, [1.25 * r], Math.PI),
  "<": (r) => polygon(3, [1.25 * r], -Math.PI / 2),
  ">": (r) => polygon(3, [1.25 * r], Math.PI / 2),
  D: (r) => polygon(4, [1.3 * r], 0),
  d: (r) => polygon(4, [1.4 * r, 0.8 * r], 0),
  p: (r) => polygon(5, [1.15 * r], 0),
  h: (r) => polygon(6, [1.1 * r], 0),
  "*": (r) => polygon(10, [1.4 * r, 0.55 * r], 0),
  x: (r) => strokes(1.3 * r, [45, 135, 225, 315]),
  "+": (r) => strokes(1.3 * r, [0, 90, 180, 270]),
  1: (r) => strokes(1.3 * r, [60, 180, 300]),
  2: (r) => strokes(1.3 * r, [0, 120, 240]),
  3: (r) => strokes(1.3 * r, [30, 150, 270]),
  4: (r) => strokes(1.3 * r, [90, 210, 330]),
};

/* A mark in the middle of which `x` and `y` lie; `kind` is its class. */
function mark(shape, radius, x, y, kind, parent) {
  const place = `translate(${rounded(x)} ${rounded(y)})`;
  return svgElement("path", { d: SHAPES[shape](radius), transform: place, class: kind }, parent);
}

/* The class of a label's colour. */
function colourClass(series) {
  return series.kind === "curve" ? `s${series.style.place % 7}` : "reference";
}

// -------------------------------------------------------------------------------------- scales

/* Round numbers between two ends, about `wish` of them. */
function ticksBetween(low, high, wish) {
  const rough = (high - low) / Math.max(wish, 1);
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * size).find((one) => one >= rough);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i += 1) {
    found.push(i * step);
  }
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return found.map((value) => ({ value, text: value.toFixed(digits).replace("-", "−") }));
}

const SUPERSCRIPTS = { "-": "⁻" };
[..."⁰¹²³⁴⁵⁶⁷⁸⁹"].forEach((sign, digit) => { SUPERSCRIPTS[digit] = sign; });
const powerOfTen = (n) => `10${[...String(n)].map((sign) => SUPERSCRIPTS[sign]).join("")}`;

/* Where the values of a knob stand; on a logarithmic axis, zero is a decade left of the rest. */
function knobScale(knob, values) {
  if (!knob.isLog) {
    const margin = 0.05 * (knob.high - knob.low);
    const ends = [knob.low - margin, knob.high + margin];
    return { ends, at: (value) => value, ticks: ticksBetween(...ends, 4) };
  }
  const positive = values.filter((value) => value > 0);
  const least = Math.log10(Math.min(...positive));
  const most = Math.log10(Math.max(...positive));
  const hasZero = knob.low === 0;
  const at = (value) => (value > 0 ? Math.log10(value) : least - 1);
  const first = hasZero ? least - 1 : least;
  const margin = 0.06 * (most - first);
  const [low, high] = [Math.ceil(least - 1e-9), Math.floor(most + 1e-9)];
  const stride = Math.max(1, Math.ceil((high - low) / 4));
  const ticks = hasZero ? [{ value: first, text: "0" }] : [];
  for (let n = low; n <= high; n += stride) ticks.push({ value: n, text: powerOfTen(n) });
  return { ends: [first - margin, most + margin], at, ticks };
}

// ---------------------------------------------------------------------------------------- axes

let nextClip = 0;

/* An empty figure with axes. `options` has width, height, x and y (both ends), and may have xTicks,
   xTitle, yTitle and title. Returned are its layers and the functions from values to pixels. */
function axes(options, parent) {
  const { width, height } = options;
  const small = Boolean(options.title);
  const box = {
    left: options.yTitle ? 52 : 34,
    right: width - 12,
    top: small ? 22 : 12,
    bottom: height - (options.xTitle ? 40 : 24),
  };
  const svg = svgElement("svg", {
    width, height, viewBox: `0 0 ${width} ${height}`, class: "figure", "aria-hidden": "true",
  }, parent);
  const scale = ([low, high], [from, to]) => (value) => (
    from + ((value - low) / (high - low || 1)) * (to - from));
  const px = scale(options.x, [box.left, box.right]);
  const py = scale(options.y, [box.bottom, box.top]);
  const grid = svgElement("g", { class: "grid" }, svg);
  const labels = svgElement("g", { class: "labels" }, svg);
  const xTicks = options.xTicks || ticksBetween(...options.x, (box.right - box.left) / 80);
  xTicks.forEach(({ value, text }) => {
    const x = rounded(px(value));
    svgElement("path", { d: `M${x} ${box.top}V${box.bottom}` }, grid);
    svgText(text, { x, y: box.bottom + 15, "text-anchor": "middle" }, labels);
  });
  ticksBetween(...options.y, (box.bottom - box.top) / 45).forEach(({ value, text }) => {
    const y = rounded(py(value));
    svgElement("path", { d: `M${box.left} ${y}H${box.right}` }, grid);
    svgText(text, { x: box.left - 6, y: y + 4, "text-anchor": "end" }, labels);
  });
  const lines = `M${box.left} ${box.top}V${box.bottom}H${box.right}`;
  svgElement("path", { d: lines, class: "axis" }, svg);
  if (options.xTitle) {
    const middle = (box.left + box.right) / 2;
    svgText(options.xTitle, { x: middle, y: height - 6, "text-anchor": "middle" }, labels);
  }
  if (options.yTitle) {
    const middle = (box.top + box.bottom) / 2;
    const place = `translate(14 ${middle}) rotate(-90)`;
    svgText(options.yTitle, { transform: place, "text-anchor": "middle" }, labels);
  }
  if (options.title) svgText(options.title, { x: box.left, y: 14, class: "title" }, labels);
  nextClip += 1;
  const clip = svgElement("clipPath", { id: `clip-${nextClip}` }, svg);
  // A mark at the border is seen whole.
  svgElement("rect", {
    x: box.left - 8, y: box.top - 8, width: box.right - box.left + 16,
    height: box.bottom - box.top + 16,
  }, clip);
  const layer = (kind) => svgElement("g", { class: kind, "clip-path": `url(#clip-${nextClip})` }, svg);
  return { svg, box, px, py, layer, points: [] };
}

/* Of a list of [x, y] in pixels. */
function pathOf(places) {
  return places.map(([x, y], i) => `${i ? "L" : "M"}${rounded(x)} ${rounded(y)}`).join("");
}

// -------------------------------------------------------------------------------------- saving

const KEPT = [
  "fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity",
  "stroke-linejoin", "opacity", "font-family", "font-size", "font-weight", "paint-order",
];

/* A copy whose looks are attributes, in light colours: other programs know no style of the page. */
function standAlone(svg) {
  const root = document.documentElement;
  const before = root.dataset.theme;
  root.dataset.theme = "light";
  const copy = svg.cloneNode(true);
  const originals = [svg, ...svg.querySelectorAll("*")];
  [copy, ...copy.querySelectorAll("*")].forEach((element, i) => {
    const style = getComputedStyle(originals[i]);
    KEPT.forEach((name) => element.setAttribute(name, style.getPropertyValue(name)));
    ["class", "style", "aria-hidden"].forEach((name) => element.removeAttribute(name));
  });
  copy.querySelectorAll("[data-passing]").forEach((element) => element.remove());
  if (before === undefined) delete root.dataset.theme;
  else root.dataset.theme = before;
  copy.setAttribute("xmlns", NAMESPACE);
  return copy;
}

function saveFile(name, type, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  // The browser needs the address until it has read all of it.
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

/* Several figures below each other as one file, on a white ground. */
function saveFigures(name, figures, columns) {
  const sizes = figures.map((svg) => [svg.width.baseVal.value, svg.height.baseVal.value]);
  const wide = Math.max(...sizes.map(([width]) => width));
  const tall = Math.max(...sizes.map(([, height]) => height));
  const rows = columns === 1
    ? sizes.map((_, i) => sizes.slice(0, i).reduce((sum, [, height]) => sum + height, 0))
    : sizes.map((_, i) => Math.floor(i / columns) * tall);
  const width = wide * Math.min(columns, figures.length);
  const height = Math.max(...rows.map((top, i) => top + sizes[i][1]));
  const whole = svgElement("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
  svgElement("rect", { width, height, fill: "#fff" }, whole);
  figures.forEach((svg, i) => {
    const copy = standAlone(svg);
    copy.setAttribute("x", (i % columns) * wide);
    copy.setAttribute("y", rows[i]);
    whole.append(copy);
  });
  const text = new XMLSerializer().serializeToString(whole);
  saveFile(name, "image/svg+xml", `<?xml version="1.0" encoding="UTF-8"?>\n${text}\n`);
}
