/* Tables: sorting, columns that are switched on and off, and files of comma-separated values. */

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
  const isNothing = (text) => text === NOTHING || text === "";
  if (isNothing(a) !== isNothing(b)) return isNothing(a) ? 1 : -1;
  return sign * a.localeCompare(b);
}

const headingsOf = (table) => [...table.tHead.rows[table.tHead.rows.length - 1].cells];

function resort(table) {
  const body = table.tBodies[0];
  const headings = headingsOf(table);
  const column = headings.findIndex((heading) => heading.hasAttribute("aria-sort"));
  [...body.rows].forEach((row, i) => { row.dataset.place = row.dataset.place || String(i); });
  const place = (row) => Number(row.dataset.place);
  const isFalling = column >= 0 && headings[column].getAttribute("aria-sort") === "descending";
  const text = (row) => row.cells[column].textContent;
  const rows = [...body.rows].sort((a, b) => {
    const order = column < 0 ? 0 : compareCells(text(a), text(b), isFalling ? -1 : 1);
    return order || place(a) - place(b);
  });
  body.replaceChildren(...rows);
}

/* A heading becomes a button, which a key presses too and which explains its column. */
function makeSortable(table) {
  headingsOf(table).forEach((heading) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...heading.childNodes);
    if (heading.dataset.term) {
      button.dataset.explains = heading.dataset.term;
      button.setAttribute("aria-describedby", `term-${heading.dataset.term}`);
    }
    heading.append(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: null }[heading.getAttribute("aria-sort")];
      headingsOf(table).forEach((other) => other.removeAttribute("aria-sort"));
      if (next !== null) heading.setAttribute("aria-sort", next || "ascending");
      resort(table);
    });
  });
}

/* Boxes that show and hide the columns of a group. */
function makeOptional(boxes) {
  const table = element(boxes.dataset.table);
  const inputs = [...boxes.querySelectorAll("input")];
  const show = () => {
    const shown = new Set(inputs.filter((one) => one.checked).map((one) => one.dataset.group));
    const isHidden = (cell) => cell.dataset.group !== undefined && !shown.has(cell.dataset.group);
    const hidden = headingsOf(table).map(isHidden);
    [...table.tHead.rows[0].cells].forEach((cell) => { cell.hidden = isHidden(cell); });
    [table.tHead.rows[1], ...table.tBodies[0].rows].forEach((row) => {
      [...row.cells].forEach((cell, i) => { cell.hidden = hidden[i]; });
    });
    boxes.parentElement.querySelectorAll(".captions [data-group]").forEach((caption) => {
      caption.hidden = isHidden(caption);
    });
  };
  inputs.forEach((one) => one.addEventListener("change", show));
  boxes.querySelector("[data-all]").addEventListener("click", () => {
    const isAll = inputs.every((one) => one.checked);
    inputs.forEach((one) => { one.checked = isAll ? one.defaultChecked : true; });
    show();
  });
  show();
}

// -------------------------------------------------------------------------------------- saving

/* A spreadsheet computes what starts with one of these; an apostrophe keeps it text. */
const noFormula = (text) => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text);

function csvCell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number" || value.isNumber) return String(value.text || value);
  const text = typeof value === "boolean" ? String(value) : noFormula(value);
  return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

const csvText = (rows) => rows.map((row) => `${row.map(csvCell).join(",")}\n`).join("");

function saveCsv(name, rows) {
  saveFile(fileName(name, "csv"), "text/csv;charset=utf-8", csvText(rows));
}

function fileName(name, ending) {
  const study = state.values.name.toLowerCase().replace(/[^a-z0-9]+/g, "_").replace(/^_+|_+$/g, "");
  return `${(study || "report").slice(0, 60)}_${name}.${ending}`;
}

/* A number where the cell is one; a mean and its standard error are two cells. */
function cellsOf(text, isNumber, isDivided) {
  const parts = isDivided ? text.split(" ± ") : [text];
  const cells = parts.map((part) => {
    const plain = part.replace("−", "-").replace("+", "").replace(/,/g, "");
    // With the digits that are printed.
    const isOne = isNumber && /^-?[\d.]+(e[+-]?\d+)?$/.test(plain);
    return isOne ? { isNumber: true, text: plain } : part;
  });
  return isDivided && cells.length < 2 ? [...cells, ""] : cells;
}

/* The columns of a table that are shown. */
function tableRows(table) {
  const headings = headingsOf(table);
  const rows = [...table.tBodies[0].rows].filter((row) => !row.classList.contains("off"));
  const texts = rows.map((row) => [...row.cells].map((cell) => cell.textContent.trim()));
  const over = [];
  if (table.tHead.rows.length > 1) {
    [...table.tHead.rows[0].cells].forEach((cell, i) => {
      for (let n = 0; n < cell.colSpan; n += 1) over.push(i ? `${cell.textContent}: ` : "");
    });
  }
  const shown = headings.map((heading, i) => i).filter((i) => !headings[i].hidden);
  const divided = headings.map((_, i) => texts.some((row) => row[i].includes(" ± ")));
  const names = shown.flatMap((i) => {
    const name = `${over[i] || ""}${headings[i].textContent.trim()}`;
    return divided[i] ? [name, `${name} error`] : [name];
  });
  const isNumber = headings.map((heading) => heading.classList.contains("number"));
  return [names, ...texts.map((row) => shown.flatMap((i) => cellsOf(row[i], isNumber[i], divided[i])))];
}

/* Every point with its mean, its error and its seeds. */
function pointRows() {
  const { split, seeds } = state.values;
  const names = ["method", "configuration", "on_front", "chosen"];
  ["source", "target"].forEach((side) => {
    names.push(`${split}_${side}`, `${split}_${side}_error`);
  });
  if (seeds.length > 1) seeds.forEach((seed) => names.push(`source_seed_${seed}`, `target_seed_${seed}`));
  const rows = state.values.series.flatMap((series) => series.points.map((point, i) => [
    series.label, point.text || "", series.kind === "curve" ? series.front.includes(i) : "",
    series.kind === "curve" ? pickedOf(series) === i : "", ...point.x,
    ...(point.unmeasured ? ["", ""] : point.y),
    ...(seeds.length > 1 ? seeds.flatMap((_, s) => (point.seeds || [])[s] || ["", ""]) : []),
  ]));
  return [names, ...rows];
}

function pairRows() {
  const names = [
    "measure", "above", "below", "difference", "low", "high", "seeds_above", "seeds", "is_claim",
  ];
  return [names, ...state.values.pairs];
}
