"use strict";
// The page of sweeps that run: what the server says is put in as text, never as markup.
(() => {
  const EVERY = 3000, LONGEST = 60000, SHORT = 120;
  const element = (id) => document.getElementById(id);
  const STATES = {
    running: "", failed: "bad", oom: "bad", diverged: "bad", stopped: "", ok: "good",
    "to come": "soft",
  };
  const NAMES = { oom: "out of memory", stopped: "stopped early" };
  let chosen = Number(new URLSearchParams(location.search).get("sweep")) || 0;
  let skew = 0, wait = EVERY, timer = 0, readAt = 0;
  let sweep = null, trials = null; // as they are shown
  const wanted = { text: "", state: "", label: "", sort: "", order: "", page: 1 };
  const kept = new Map(); // address -> what was sent last, with its tag

  // ------------------------------------------------------------------------------- requests

  async function told(address) {
    const before = kept.get(address);
    const headers = before ? { "If-None-Match": before.tag } : {};
    const answer = await fetch(address, { headers, cache: "no-store", credentials: "same-origin" });
    const date = Date.parse(answer.headers.get("Date"));
    if (!Number.isNaN(date)) skew = date - Date.now();
    if (answer.status === 304 && before) return before.value;
    if (answer.status === 403) {
      throw new Error("The server was started anew: open the address that it has printed.");
    }
    if (!answer.ok) throw new Error(`The server answers ${answer.status}.`);
    const made = { tag: answer.headers.get("ETag"), value: await answer.json() };
    if (kept.size > 20) kept.clear();
    kept.set(address, made);
    return made.value;
  }

  function trialsAddress() {
    const said = Object.entries(wanted).filter(([, value]) => value);
    return `data/${chosen}/trials?${new URLSearchParams(said)}`;
  }

  let round = 0;
  async function refresh() {
    clearTimeout(timer);
    const mine = ++round;
    try {
      const all = await told("data/sweeps");
      // An address that was kept may name a folder that is no longer served.
      if (!all.sweeps.some((one) => one.index === chosen)) {
        chosen = 0;
        history.replaceState(null, "", location.pathname);
      }
      const one = await told(`data/${chosen}`);
      const some = await told(trialsAddress());
      if (mine !== round) return;
      readAt = Date.now();
      wait = EVERY;
      showFolders(all.sweeps);
      if (one !== sweep) showSweep(one);
      if (some !== trials) showTrials(some);
      notice(one.error);
    } catch (error) {
      if (mine !== round) return;
      wait = Math.min(2 * wait, LONGEST);
      const away = error instanceof TypeError;
      notice(away ? "The server does not answer: has clsweep serve ended?" : error.message);
    }
    showTimes();
    timer = setTimeout(refresh, document.hidden ? LONGEST : wait);
  }

  // ---------------------------------------------------------------------------------- pieces

  function make(tag, text = "", className = "") {
    const made = document.createElement(tag);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function fill(table, rows) {
    const body = table.tBodies[0];
    body.replaceChildren(...rows.map((cells) => {
      const row = document.createElement("tr");
      for (const [text, className] of cells) {
        const cell = make("td", "", className || "");
        cell.append(className === "message" ? folded(text) : text);
        row.append(cell);
      }
      return row;
    }));
  }

  /* A long text as its beginning, which opens. */
  function folded(text) {
    const line = text.split("\n", 1)[0].slice(0, SHORT);
    if (line.length === text.length) return text;
    const details = make("details");
    details.append(make("summary", `${line} …`), make("div", text));
    return details;
  }

  function notice(text) {
    const place = element("notice");
    if (place.textContent !== text) place.textContent = text;
    place.hidden = !text;
  }

  const percent = (share) => (share === null ? "–" : (100 * share).toFixed(1));
  const stateName = (state) => NAMES[state] || state;

  function duration(seconds) {
    const whole = Math.max(0, Math.round(seconds));
    if (whole < 60) return `${whole} s`;
    for (const [size, unit, small, name] of
      [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]]) {
      if (whole >= size) {
        const rest = Math.floor((whole % size) / small);
        return `${Math.floor(whole / size)} ${unit}${rest ? ` ${rest} ${name}` : ""}`;
      }
    }
    return "";
  }

  // As everywhere in clsweep: no locale turns day and month around.
  function moment(seconds) {
    if (seconds === null) return "";
    const date = new Date(1000 * seconds);
    const local = new Date(date - 60000 * date.getTimezoneOffset());
    return local.toISOString().slice(0, 19).replace("T", " ");
  }

  const number = (n) => n.toLocaleString("en");
  const since = (seconds) => duration((Date.now() + skew) / 1000 - seconds);
  const counted = (n, noun) => `${number(n)} ${noun}${n === 1 ? "" : "s"}`;

  // --------------------------------------------------------------------------------- folders

  function showFolders(sweeps) {
    const place = element("folders");
    place.hidden = sweeps.length < 2;
    const names = new Map();
    for (const one of sweeps) names.set(one.name, (names.get(one.name) || 0) + 1);
    const texts = sweeps.map((one) => {
      const name = names.get(one.name) > 1 ? `${one.name} (${one.folder})` : one.name;
      const bad = one.n_not_ok ? `, ${number(one.n_not_ok)} not ok` : "";
      return one.error && one.n_trials === undefined
        ? `${name}: unreadable`
        : `${name}: ${number(one.n_done)}/${number(one.n_trials)}${bad}${one.has_report ? ", done" : ""}`;
    });
    if (place.children.length !== sweeps.length) {
      place.replaceChildren(...sweeps.map((one) => {
        const button = make("button");
        button.type = "button";
        button.addEventListener("click", () => choose(one.index));
        return button;
      }));
    }
    [...place.children].forEach((button, index) => {
      if (button.textContent !== texts[index]) button.textContent = texts[index];
      button.setAttribute("aria-current", String(index === chosen));
    });
  }

  function choose(index) {
    chosen = index;
    history.replaceState(null, "", index ? `?sweep=${index}` : location.pathname);
    Object.assign(wanted, { text: "", state: "", label: "", page: 1 });
    element("text").value = element("state").value = element("label").value = "";
    sweep = null;
    refresh();
  }

  // ----------------------------------------------------------------------------------- sweep

  function showSweep(value) {
    sweep = value;
    element("sweep").hidden = value.study === null;
    if (value.study === null) return;
    document.title = `${value.n_done}/${value.n_trials} ${value.study}`;
    element("title").textContent = `${value.study}: ${value.benchmark}`;
    const seeds = counted(value.seeds.length, "seed");
    element("about").textContent = `${seeds}; ${value.folder}`;
    element("bar").max = Math.max(1, value.n_trials);
    element("bar").value = value.n_done;
    element("count").textContent = countText(value);
    element("done").hidden = !value.has_report;
    element("report").href = `report/${chosen}`;
    list("warnings", value.warnings);
    showFronts();
    showMethods(value);
    showWork(value);
    element("errors-section").hidden = !value.errors.length;
    list("errors", value.errors.map(errorText));
  }

  function countText(v) {
    const atMost = v.is_upper_limit ? "at most " : "";
    const ends = [[v.n_failed, "failed"], [v.n_diverged, "diverged"], [v.n_oom, "out of memory"],
      [v.n_stopped, "stopped early"]];
    const bad = ends.filter(([n]) => n).map(([n, word]) => `, ${number(n)} ${word}`).join("");
    return `${number(v.n_done)} of ${atMost}${counted(v.n_trials, "trial")} done: ` +
      `${number(v.n_ok)} ok${bad}; ${number(v.n_running)} running; ` +
      `${atMost}${number(v.n_to_come)} to come`;
  }

  function paceText(v) {
    if (v.state === "finished") return "finished";
    if (v.state === "stopped") {
      return `Stopped: nothing computes the ${counted(v.n_to_come, "trial")} to come. ` +
        "To go on, give the same clsweep run again.";
    }
    const holder = v.holder || "a process";
    const begun = v.held_since ? ` for ${since(Date.parse(v.held_since) / 1000)}` : "";
    const doubt = v.state === "unknown" ? " (a machine that cannot be asked from here)" : "";
    if (v.trials_per_minute === null || v.seconds_left === null) {
      const what = v.n_done ? "too few trials of this run have ended" : "no trial has ended yet";
      return `${holder} is at work${doubt}${begun}; ${what}, so no estimate of the time.`;
    }
    const passed = (Date.now() + skew - Date.parse(v.last_record_at)) / 1000;
    const left = duration(Math.max(0, v.seconds_left - Math.max(0, passed)));
    const about = v.is_upper_limit ? "at most" : "about";
    const rate = v.trials_per_minute.toPrecision(3).replace(/\.?0+$/, "");
    return `${holder} is at work${doubt}${begun}; ${rate} trials per minute, ${about} ${left} left`;
  }

  function list(id, texts) {
    element(id).hidden = !texts.length;
    element(id).replaceChildren(...texts.map((text) => {
      const item = make("li");
      item.append(folded(text));
      return item;
    }));
  }

  const named = (one) =>
    `${one.label}${one.configuration ? `, ${one.configuration}` : ""}, seed ${one.seed}`;

  const errorText = (one) =>
    `${named(one)}: ${stateName(one.status)}${one.message ? `: ${one.message}` : ""}`;

  function showMethods(v) {
    const dash = (n) => (n ? number(n) : "–");
    fill(element("methods"), v.methods.map((one) => {
      const best = one.best || { average: null, source: null, target: null, configuration: "" };
      return [[one.label], [dash(one.n_done), "number"], [number(one.n_trials), "number"],
        [dash(one.n_running), "number"], [dash(one.n_not_ok), one.n_not_ok ? "number bad" : "number"],
        [percent(best.average), "number"], [percent(best.source), "number"],
        [percent(best.target), "number"], [best.configuration]];
    }));
    const n = v.series.length ? v.series[0].n_seeds : 0;
    element("methods-note").textContent = n
      ? `Best so far, on validation data: means over ${counted(n, "seed")} ` +
        `of ${v.seeds.length} that all shown configurations have run with.`
      : "No configuration has run with any seed yet.";
    const select = element("label");
    const labels = v.methods.map((one) => one.label);
    if (select.options.length !== labels.length + 1 ||
        labels.some((label, i) => select.options[i + 1].value !== label)) {
      select.replaceChildren(new Option("all", ""), ...labels.map((label) => new Option(label, label)));
      select.value = wanted.label;
    }
  }

  function showWork(v) {
    element("work-section").hidden = !v.n_running && v.state !== "running";
    const places = v.machines.map((one) =>
      `${one.name || "a machine without a name"} (${counted(one.n_workers, "worker")})`);
    element("machines").textContent = places.length
      ? `${counted(v.n_running, "trial")} on ${counted(places.length, "machine")}: ${places.join(", ")}`
      : "No trial is at work: the run is starting, or makes a stage that trials share.";
    fill(element("running"), v.running.map((one) => [
      [one.label], [one.configuration], [String(one.seed), "number"],
      [since(one.started_at), "number since"], [one.machine],
      [one.n_starts > 1 ? String(one.n_starts) : "", "number"]]));
    element("running").hidden = !v.running.length;
    const more = v.n_running - v.running.length;
    element("running-note").textContent = more > 0 ? `and ${more} more, in the list of trials` : "";
  }

  // ---------------------------------------------------------------------------------- fronts

  let showsAll = false;

  /* Ends of an axis around values in percent, with room for marks. */
  function ends(values) {
    if (!values.length) return [0, 100];
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const margin = 0.08 * Math.max(high - low, 4);
    return [low - margin, Math.min(high, sweep.metric.high) + margin];
  }

  /* What is drawn where: fronts and references have to be seen, other points may lie outside. */
  function viewed(series) {
    const isFront = (one, i) => one.kind !== "curve" || one.best === i || one.front.includes(i);
    return series.flatMap((one) => one.points.filter((_, i) => showsAll || isFront(one, i)));
  }

  function showFronts() {
    const place = element("fronts");
    const shown = sweep.series.filter((one) => one.points.length);
    const points = viewed(shown);
    const width = Math.max(280, Math.min(place.clientWidth, 1000));
    place.replaceChildren();
    const figure = axes({
      width, height: Math.round(Math.min(520, Math.max(320, 0.6 * width))),
      x: ends(points.map((point) => point.x[0])), y: ends(points.map((point) => point.y[0])),
      xTitle: `source ${sweep.metric.title}, validation (%)`,
      yTitle: `target ${sweep.metric.title}, validation (%)`,
    }, place);
    const { left, right, top, bottom } = figure.box;
    const layers = ["rest", "bars", "lines", "marks"].map((kind) => figure.layer(kind));
    const inside = (point) => {
      const [x, y] = [figure.px(point.x[0]), figure.py(point.y[0])];
      return x >= left - 8 && x <= right + 8 && y >= top - 8 && y <= bottom + 8;
    };
    let beyond = 0;
    for (const one of shown) {
      const groups = layers.map((layer) => svgElement("g", { class: colourClass(one) }, layer));
      beyond += one.points.filter((point) => !inside(point)).length;
      drawSeries(figure, one, groups, inside);
    }
    if (!shown.length) {
      const middle = { x: width / 2, y: bottom / 2, "text-anchor": "middle" };
      svgText("No configuration has ended well yet.", middle, figure.svg);
    }
    showLegend(shown);
    const left_out = shown.reduce((sum, one) => sum + one.n_left_out, 0);
    element("fronts-note").textContent = [
      beyond ? `${counted(beyond, "point")} outside of this part of the plane` : "",
      left_out ? `${counted(left_out, "point")} not drawn, since there are too many` : "",
    ].filter(Boolean).join("; ");
    element("zoom").setAttribute("aria-pressed", String(showsAll));
    element("save").disabled = !shown.length;
  }

  function drawSeries(figure, one, [rest, bars, lines, marks], inside) {
    const { px, py } = figure;
    const front = new Set(one.front);
    const isCurve = one.kind === "curve";
    one.points.forEach((point, i) => {
      if (!inside(point)) return;
      const [x, y] = [px(point.x[0]), py(point.y[0])];
      const isFront = !isCurve || front.has(i);
      const filled = one.style.marker === "*" ? "point end" : "point end open";
      const kind = isCurve ? `point${isFront ? "" : " hollow"}` : filled;
      const size = isCurve ? (isFront ? 4.6 : 3) : 5.5;
      const made = mark(one.style.marker, size, x, y, kind, isFront ? marks : rest);
      svgElement("title", {}, made).textContent = pointText(one, point);
      if (isFront && isCurve) drawBars(figure, point, bars);
      if (one.best === i && isCurve) mark("o", 9, x, y, "choice ring", marks);
    });
    if (!isCurve) return;
    const places = one.front.map((i) => [px(one.points[i].x[0]), py(one.points[i].y[0])]);
    svgElement("path", {
      d: pathOf(places), class: "line", "stroke-dasharray": one.style.dashes.join(" "),
    }, lines);
  }

  /* Mean ± standard error in both directions; none lies beyond what is possible. */
  function drawBars({ px, py }, { x: [x, wide], y: [y, high] }, parent) {
    const { low, high: most } = sweep.metric;
    const within = (value) => Math.min(most, low === null ? value : Math.max(low, value));
    if (wide !== null) {
      const both = [within(x - wide), within(x + wide)].map((end) => [px(end), py(y)]);
      svgElement("path", { d: pathOf(both), class: "bar" }, parent);
    }
    if (high !== null) {
      const both = [within(y - high), within(y + high)].map((end) => [px(x), py(end)]);
      svgElement("path", { d: pathOf(both), class: "bar" }, parent);
    }
  }

  function pointText(one, point) {
    const numbers = `source ${point.x[0].toFixed(1)} %, target ${point.y[0].toFixed(1)} %`;
    return [one.label, point.text, numbers].filter(Boolean).join("\n");
  }

  function showLegend(shown) {
    element("legend").replaceChildren(...shown.map((one) => {
      const item = make("li");
      const size = { width: 18, height: 14, class: "figure", "aria-hidden": "true" };
      const svg = svgElement("svg", size, item);
      const group = svgElement("g", { class: colourClass(one) }, svg);
      const open = one.kind === "curve" ? "point" : "point end open";
      mark(one.style.marker, 4.6, 9, 7, one.style.marker === "*" ? "point end" : open, group);
      item.append(one.label);
      return item;
    }));
  }

  // ----------------------------------------------------------------------------------- times

  function showTimes() {
    if (sweep && sweep.study !== null) {
      const text = paceText(sweep);
      if (element("pace").textContent !== text) element("pace").textContent = text;
      const cells = element("running").querySelectorAll("td.since");
      sweep.running.forEach((one, i) => {
        if (cells[i]) cells[i].textContent = since(one.started_at);
      });
    }
    element("freshness").textContent = readAt
      ? `as of ${moment(readAt / 1000).slice(11)}; the page asks every few seconds, and only reads`
      : "";
  }

  // ---------------------------------------------------------------------------------- trials

  function showTrials(value) {
    trials = value;
    fill(element("trials"), value.rows.map((row) => [
      [row.label], [row.configuration], [String(row.seed), "number"],
      [stateName(row.state) + (row.machine ? ` on ${row.machine}` : ""), STATES[row.state]],
      [percent(row.average), "number"], [percent(row.source), "number"],
      [percent(row.target), "number"], [moment(row.at), "when"], [row.message, "message"]]));
    wanted.page = value.page;
    const all = counted(value.n_trials, "trial");
    element("found").textContent =
      value.n_found === value.n_trials ? all : `${number(value.n_found)} of ${all}`;
    element("page").textContent = `page ${number(value.page)} of ${number(value.n_pages)}`;
    element("previous").disabled = value.page <= 1;
    element("next").disabled = value.page >= value.n_pages;
    element("pages").hidden = value.n_pages < 2;
  }

  function ask(change) {
    Object.assign(wanted, { page: 1 }, change);
    refresh();
  }

  function sortBy(heading) {
    const name = heading.dataset.sort;
    if (wanted.sort !== name) Object.assign(wanted, { sort: name, order: "ascending" });
    else if (wanted.order === "ascending") wanted.order = "descending";
    else Object.assign(wanted, { sort: "", order: "" });
    for (const one of document.querySelectorAll("th[data-sort]")) {
      one.setAttribute("aria-sort", one.dataset.sort === wanted.sort ? wanted.order : "none");
    }
    ask({});
  }

  function prepare() {
    for (const heading of document.querySelectorAll("th[data-sort]")) {
      const button = make("button", heading.textContent, "sort");
      button.type = "button";
      button.addEventListener("click", () => sortBy(heading));
      heading.replaceChildren(button);
      heading.setAttribute("aria-sort", "none");
    }
    const states = ["not ok", ...Object.keys(STATES)];
    element("state").append(...states.map((state) => new Option(stateName(state), state)));
    let typing = 0;
    element("text").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => ask({ text: element("text").value }), 250);
    });
    element("filter").addEventListener("submit", (event) => event.preventDefault());
    element("state").addEventListener("change", () => ask({ state: element("state").value }));
    element("label").addEventListener("change", () => ask({ label: element("label").value }));
    element("previous").addEventListener("click", () => ask({ page: wanted.page - 1 }));
    element("next").addEventListener("click", () => ask({ page: wanted.page + 1 }));
    element("zoom").addEventListener("click", () => { showsAll = !showsAll; showFronts(); });
    element("save").addEventListener("click", () => {
      const name = `${sweep.study}_validation_fronts.svg`;
      saveFigures(name, [...element("fronts").querySelectorAll("svg")], 1);
    });
    let resizing = 0;
    window.addEventListener("resize", () => {
      clearTimeout(resizing);
      resizing = setTimeout(() => { if (sweep && sweep.study !== null) showFronts(); }, 150);
    });
    document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
    setInterval(showTimes, 1000);
  }

  prepare();
  refresh();
})();
