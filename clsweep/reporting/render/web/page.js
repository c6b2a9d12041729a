"use strict";
/* Draws the values of a report. Text is only ever set as text, never as HTML. */
(() => {
  const values = JSON.parse(document.getElementById("values").textContent);
  const element = (id) => document.getElementById(id);
  const NOTHING = "–";
  const ROUNDING = 1e-12;
  const PRINTED_WIDTH = 680;
  const config = {
    responsive: true,
    displaylogo: false,
    toImageButtonOptions: { format: "svg" },
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
  };

  // ------------------------------------------------------------------ what the slider chooses

  const curves = values.curves.filter((curve) => !curve.is_reference);

  /* Index of the point with the best validation source accuracy among those whose validation
     target accuracy is high enough; null where there is none. */
  function chosenAt(curve, requiredPercent) {
    const required = requiredPercent / 100 - values.slider.offset;
    let best = null;
    curve.points.forEach((point, i) => {
      const [source, target] = point.validation;
      if (source === null || target === null || target < required - ROUNDING) return;
      if (best === null || source > curve.points[best].validation[0] + ROUNDING) best = i;
    });
    return best;
  }

  function meanText([mean, error]) {
    if (mean === null) return NOTHING;
    return error === null ? mean.toFixed(1) : `${mean.toFixed(1)} ± ${error.toFixed(1)}`;
  }

  function cell(text, isNumber) {
    const made = document.createElement("td");
    made.textContent = text;
    if (isNumber) made.className = "number";
    return made;
  }

  function requiredRow(curve, required) {
    const row = document.createElement("tr");
    const index = chosenAt(curve, required);
    const texts = [curve.label, NOTHING, "not reached", NOTHING];
    if (curve.absence) [texts[1], texts[2]] = [curve.absence, NOTHING];
    if (index !== null) {
      const point = curve.points[index];
      const missed = point.target[0] < required - 100 * ROUNDING;
      texts[1] = point.configuration;
      texts[2] = meanText(point.source);
      texts[3] = meanText(point.target) + (missed ? " †" : "");
    }
    texts.forEach((text, i) => row.append(cell(text, i > 1)));
    row.dataset.label = curve.label;
    return row;
  }

  function requirementText(required) {
    const tuned = values.slider.finetuning;
    const text = `≥ ${required.toFixed(2)} %`;
    if (tuned === null) return text;
    const below = tuned - required;
    const side = below >= 0 ? "below" : "above";
    return `${text}, ${Math.abs(below).toFixed(2)} points ${side} fine-tuning`;
  }

  // --------------------------------------------------------------------------------- figures

  const fronts = values.figures.fronts;
  const ring = (name, symbol, colour, size) => ({
    type: "scatter", mode: "markers", x: [], y: [], hoverinfo: "skip", name: name,
    marker: { symbol: symbol, size: size, color: colour, line: { color: colour, width: 1.3 } },
  });
  const PICK = fronts.data.length;
  const AT_REQUIRED = PICK + 1;
  const hasCurves = curves.some((curve) => curve.points.length > 0);
  if (hasCurves) {
    fronts.data.push(ring("", "circle-open", "#000", 14));
    fronts.data.push(ring("best at required target", "square-open", "#000", 17));
  }
  if (hasCurves) {
    fronts.layout.shapes = [{
      type: "line", xref: "paper", x0: 0, x1: 1, y0: values.slider.start, y1: values.slider.start,
      line: { color: "#555", width: 1, dash: "dot" }, layer: "below",
    }];
  }
  const hidden = new Set();

  function coordinates(indexOf) {
    const found = { x: [], y: [] };
    curves.forEach((curve) => {
      const index = indexOf(curve);
      if (index === null || index === undefined || hidden.has(curve.label)) return;
      found.x.push(curve.points[index].source[0]);
      found.y.push(curve.points[index].target[0]);
    });
    return found;
  }

  function setRange(view) {
    const [left, right, bottom, top] = view;
    fronts.layout.xaxis.range = [left, right];
    fronts.layout.yaxis.range = [bottom, top];
  }

  function showView(view) {
    const [left, right, bottom, top] = view;
    Plotly.relayout("fronts", { "xaxis.range": [left, right], "yaxis.range": [bottom, top] });
  }

  function showPick() {
    if (!hasCurves) return;
    const pick = values.picks[Number(element("pick").value) || 0];
    const at = coordinates((curve) => pick.chosen[curve.label]);
    Plotly.restyle("fronts", { x: [at.x], y: [at.y], name: pick.name }, [PICK]);
  }

  let required = values.slider.start;

  function showRequired(value) {
    required = value;
    element("required-text").textContent = requirementText(required);
    const rows = curves.map((curve) => requiredRow(curve, required));
    element("at-required").tBodies[0].replaceChildren(...rows);
    rows.forEach((row) => row.classList.toggle("off", hidden.has(row.dataset.label)));
    resort(element("at-required"));
    if (!hasCurves) return;
    const at = coordinates((curve) => chosenAt(curve, required));
    Plotly.restyle("fronts", { x: [at.x], y: [at.y] }, [AT_REQUIRED]);
    Plotly.relayout("fronts", { "shapes[0].y0": required, "shapes[0].y1": required });
  }

  /* A method that is switched off in the figure leaves the table and the rings, too. Traces of
     one label carry its index, since names are not unique and are escaped. */
  function noteHidden() {
    const before = [...hidden].join();
    hidden.clear();
    const shown = element("fronts").data;
    shown.forEach((trace) => {
      if (trace.visible === "legendonly" && trace.meta !== undefined && trace.meta !== null) {
        hidden.add(values.curves[trace.meta].label);
      }
    });
    if ([...hidden].join() === before) return;
    showPick();
    showRequired(required);
  }

  // ---------------------------------------------------------------------------------- tables

  const UNITS = { B: 1, kB: 1e3, MB: 1e6, GB: 1e9, s: 1, min: 60, h: 3600 };

  /* The number that a cell starts with, in base units; null for other text. */
  function numberOf(text) {
    const found = text.replace(/,/g, "").match(/^([+\-−]?[\d.]+(?:e[+-]?\d+)?)\s*([a-zA-Z]*)/);
    if (found === null) return null;
    return Number(found[1].replace("−", "-")) * (UNITS[found[2]] || 1);
  }

  /* `sign` is 1 for rising order, −1 for falling. */
  function compareCells(a, b, sign) {
    const [x, y] = [numberOf(a), numberOf(b)];
    if (x !== null && y !== null) return sign * (x - y);
    // What has no number, or nothing at all, comes last in either order.
    if (x !== null || y !== null) return x === null ? 1 : -1;
    if ((a === NOTHING) !== (b === NOTHING)) return a === NOTHING ? 1 : -1;
    return sign * a.localeCompare(b);
  }

  function resort(table) {
    const body = table.tBodies[0];
    const headings = [...table.tHead.rows[0].cells];
    const column = headings.findIndex((heading) => heading.ariaSort);
    [...body.rows].forEach((row, i) => { row.dataset.place = row.dataset.place || String(i); });
    const place = (row) => Number(row.dataset.place);
    const sign = column >= 0 && headings[column].ariaSort === "descending" ? -1 : 1;
    const text = (row) => row.cells[column].textContent;
    const rows = [...body.rows].sort((a, b) => {
      const order = column < 0 ? 0 : compareCells(text(a), text(b), sign);
      return order || place(a) - place(b);
    });
    body.replaceChildren(...rows);
    // Lines between groups mean nothing in another order.
    rows.forEach((row) => row.classList.toggle("start", column < 0 && row.dataset.start === "1"));
  }

  function makeSortable(table) {
    [...table.tBodies[0].rows].forEach((row) => {
      row.dataset.start = row.classList.contains("start") ? "1" : "0";
    });
    [...table.tHead.rows[0].cells].forEach((heading) => {
      heading.tabIndex = 0;
      const turn = () => {
        const next = { ascending: "descending", descending: null }[heading.ariaSort];
        [...table.tHead.rows[0].cells].forEach((other) => { other.ariaSort = null; });
        heading.ariaSort = next === undefined ? "ascending" : next;
        resort(table);
      };
      heading.addEventListener("click", turn);
      heading.addEventListener("keydown", (event) => { if (event.key === "Enter") turn(); });
    });
  }

  // ----------------------------------------------------------------------------------- set up

  function addMark(mark) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = mark.text;
    button.addEventListener("click", () => {
      element("required").value = mark.value;
      showRequired(mark.value);
    });
    element("marks").append(button);
  }

  function setUpControls() {
    const slider = element("required");
    slider.min = values.slider.low;
    slider.max = values.slider.high;
    slider.step = values.slider.step;
    slider.value = values.slider.start;
    slider.disabled = !hasCurves;
    slider.addEventListener("input", () => showRequired(Number(slider.value)));
    values.slider.marks.forEach(addMark);
    values.picks.forEach((pick, i) => element("pick").append(new Option(pick.name, String(i))));
    element("pick").addEventListener("change", showPick);
    element("pick-control").hidden = values.picks.length < 2;
    element("show-view").addEventListener("click", () => showView(values.view));
    element("show-everything").hidden = values.everything === null;
    element("show-view").hidden = values.everything === null;
    element("show-everything").addEventListener("click", () => showView(values.everything));
  }

  /* Paper is narrower than the window; print dialogs do not send a resize. */
  function fitPaper(isPrinting) {
    Object.keys(values.figures).forEach((name) => {
      const layout = isPrinting ? { width: PRINTED_WIDTH } : { width: null, autosize: true };
      Plotly.relayout(name, layout);
    });
    if (isPrinting) document.querySelectorAll("details").forEach((d) => { d.open = true; });
  }

  async function start() {
    setRange(values.view);
    document.querySelectorAll("table.sortable").forEach(makeSortable);
    setUpControls();
    for (const [name, figure] of Object.entries(values.figures)) {
      await Plotly.newPlot(name, figure.data, figure.layout, config);
    }
    showPick();
    showRequired(values.slider.start);
    element("fronts").on("plotly_restyle", noteHidden);
    window.addEventListener("beforeprint", () => fitPaper(true));
    window.addEventListener("afterprint", () => fitPaper(false));
    document.body.dataset.ready = "yes";
  }

  start();
})();
