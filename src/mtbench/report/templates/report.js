// The pages' behaviour: charts in the page's theme and width, two arms to choose, tables to sort, filter and copy, and all that
// is chosen kept in the address, so that a reload or a link shows the same.
(() => {
  "use strict";
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector, within = document) => within.querySelector(selector);
  const themes = JSON.parse(document.getElementById("themes").textContent);
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const specs = {}; // name of a chart -> its specification
  const views = new Map(); // figure -> what vega-embed returned
  const collator = new Intl.Collator(); // a hundred times as fast as localeCompare
  const MANY = 2000; // marks that a browser draws quickly as elements; more are painted

  // Rows come a column at a time, and each text once (mtbench.report.packed).
  const cellsOf = (column) => (Array.isArray(column) ? column : column.at.map((place) => column.texts[place]));
  function unpacked(found) {
    if (Array.isArray(found)) return found;
    const columns = Object.entries(found).map(([name, column]) =>
      [name, cellsOf(column)]);
    return columns[0][1].map((_, row) => Object.fromEntries(columns.map(([name, values]) => [name, values[row]])));
  }
  window.mtbenchCharts = (found) => {
    for (const [name, spec] of Object.entries(found)) {
      for (const [data, rows] of Object.entries(spec.datasets || {})) spec.datasets[data] = unpacked(rows);
      specs[name] = spec;
    }
  };

  // What is chosen, as #anchor&name=value: a page that is opened from a folder may change no other part of its address.

  const address = {
    read() {
      const parts = location.hash.slice(1).split("&");
      const named = parts.filter((part) => part.includes("=")).map((part) => part.split("=", 2).map(decodeURIComponent));
      return { anchor: parts[0].includes("=") ? "" : parts[0], values: Object.fromEntries(named) };
    },
    write(values) {
      const { anchor, values: old } = this.read();
      const kept = Object.entries({ ...old, ...values }).filter(([, value]) => value);
      const hash = [anchor, ...kept.map((pair) => pair.map(encodeURIComponent).join("="))].filter(Boolean).join("&");
      history.replaceState(null, "", hash ? `#${hash}` : location.pathname.split("/").pop());
    },
  };

  const themeName = () => document.documentElement.dataset.theme || (systemDark.matches ? "dark" : "light");
  const metric = () => one("input[name=metric]:checked")?.value;
  const arm = (name) => document.getElementById(name)?.value;
  // An arm that is chosen, or the one that a chart first shows where not all of `needed` were measured, as on another machine.
  const measuredIn = {}; // name of a chart of ratios -> the arms in it
  function armIn(chart, name, needed = ["arm_a", "arm_b"]) {
    const own = specs[chart]?.params?.find((param) => param.name === name)?.value;
    if (own === undefined || arm(name) === undefined) return arm(name);
    measuredIn[chart] ||= new Set(specs[chart].datasets.cells.map((cell) => cell.a));
    return needed.every((one) => measuredIn[chart].has(arm(one))) ? arm(name) : own;
  }
  const nameOf = (figure) => one(".drawing", figure).id;

  // Charts

  // The specification with the arms that are chosen now, as wide as the page has room.
  function specification(figure, width) {
    const spec = structuredClone(specs[nameOf(figure)]);
    for (const param of spec.params || []) param.value = armIn(nameOf(figure), param.name) ?? param.value;
    const fit = spec.usermeta?.fit;
    if (!width) return spec;
    delete spec.title; // it stands above the chart, where it can break into lines
    if (!fit) return spec;
    const inner = width - fit.margin;
    const most = Math.min(fit.panels, fit.beside || fit.panels);
    const columns = Math.max(1, Math.min(most, Math.floor((inner + 18) / (fit.least * fit.steps + 18))));
    const room = Math.max(fit.least * fit.steps, Math.min(fit.most * fit.steps, Math.floor(inner / columns) - 18));
    const size = fit.steps > 1 ? { step: Math.floor(room / fit.steps) } : room;
    if (spec.facet) { spec.columns = columns; spec.spec.width = size; }
    else if (spec.vconcat) for (const part of spec.vconcat) part.width = size;
    else spec.width = size;
    return spec;
  }

  function configuration(spec, width, theme) {
    const config = structuredClone(themes[theme]);
    if (width && width < 600) Object.assign(config.legend, { orient: "bottom", direction: "horizontal" });
    if (width) config.legend.labelLimit = Math.max(120, width - 90);
    const longest = spec.usermeta?.fit?.legend;
    if (longest && width) config.legend.columns = Math.max(1, Math.floor(width / longest));
    return config;
  }

  // Of a legend's own number of columns, the one that fits here is the one that counts; a scale of colours that lies below a
  // narrow chart needs room for its words.
  function fitLegends(value, width) {
    if (Array.isArray(value)) for (const inner of value) fitLegends(inner, width);
    else if (value && typeof value === "object") {
      if (value.legend) delete value.legend.columns;
      if (value.legend?.gradientLength && width && width < 600) value.legend.gradientLength = Math.min(300, width - 60);
      for (const [key, inner] of Object.entries(value)) if (key !== "datasets") fitLegends(inner, width);
    }
    return value;
  }

  async function draw(figure) {
    const theme = themeName();
    const width = figure.clientWidth;
    const spec = fitLegends(specification(figure, width), width);
    const rows = Object.values(spec.datasets || {}).reduce((sum, data) => sum + data.length, 0);
    const drawn = await vegaEmbed(one(".drawing", figure), spec, {
      renderer: rows > MANY ? "canvas" : "svg",
      config: configuration(spec, width, theme),
      tooltip: { theme: "custom" },
      actions: false,
    });
    views.get(figure)?.finalize();
    views.set(figure, drawn);
    figure.dataset.drawn = theme;
    figure.dataset.width = width;
    tools(figure);
    const box = one(".drawing", figure);
    box.setAttribute("role", "img"); // to who listens a chart is one picture; its numbers are in the tables
    box.firstElementChild?.setAttribute("aria-hidden", "true");
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
    // A finger that taps hovers over nothing.
    drawn.view.addEventListener("click", (event, item) => drawn.view.tooltip()(drawn.view, event, item, item?.tooltip ?? null));
    await applyArms(figure); // they may have been changed while this was being drawn
  }

  // One after the other, so that a page with many charts answers meanwhile. A newer request ends an older one.
  let request = 0;
  async function drawAll() {
    const mine = ++request;
    document.documentElement.dataset.busy = "";
    for (const figure of all(".chart:not([hidden])")) {
      if (mine !== request) return;
      const stale = figure.dataset.drawn !== themeName() || Number(figure.dataset.width) !== figure.clientWidth;
      if (stale && specs[nameOf(figure)] && figure.clientWidth) await draw(figure);
      await new Promise(requestAnimationFrame);
    }
    if (mine === request) delete document.documentElement.dataset.busy;
  }

  const caption = (figure) =>
    figure.dataset.caption ||
    (specs[nameOf(figure)]?.usermeta?.caption || "").replace(/\{(\w+)\}/g, (_, name) => armIn(nameOf(figure), name) ?? "");

  function showEmptiness(figure) {
    const title = one("figcaption b", figure) || one("figcaption", figure);
    if (title) title.textContent = caption(figure);
    one(".drawing", figure).setAttribute("aria-label", caption(figure));
    if (figure.dataset.kind !== "ratio") return;
    const [a, b] = ["arm_a", "arm_b"].map((name) => armIn(nameOf(figure), name));
    const some = specs[nameOf(figure)].datasets.cells.some((cell) => cell.a === a && cell.b === b);
    one(".drawing", figure).hidden = !some;
    one(".empty", figure).hidden = some;
  }

  async function applyArms(figure) {
    const { view, spec } = views.get(figure);
    const own = (spec.params || []).filter((param) => arm(param.name) !== undefined);
    for (const param of own) view.signal(param.name, armIn(nameOf(figure), param.name));
    if (own.length) await view.runAsync();
    showEmptiness(figure);
  }

  // The matrix of verdicts, against the baseline that is chosen.
  function fillMatrix(matrix) {
    const baseline = armIn(matrix.dataset.chart, "arm_a", ["arm_a"]);
    const cells = specs[matrix.dataset.chart]?.datasets.cells;
    if (!cells || baseline === undefined) return;
    const found = new Map();
    for (const cell of cells)
      if (cell.a === baseline) found.set(`${cell.dtype}|${cell.batch_size}|${cell.seq_len}|${cell.b}`, cell);
    for (const name of all(".baseline", matrix)) name.textContent = baseline;
    for (const row of one("tbody", matrix).rows)
      for (const entry of all("td[data-b]", row)) {
        const button = one("button", entry);
        if (!button) continue;
        const cell = found.get(`${row.dataset.cell}|${entry.dataset.b}`);
        entry.classList.toggle("faster", cell?.verdict === "faster");
        entry.classList.toggle("slower", cell?.verdict === "slower");
        one(".ratio", button).textContent = cell
          ? cell.told
          : entry.dataset.b === baseline ? "baseline" : "";
        if (cell) button.dataset.words = `${cell.bounds}; ${cell.evidence}`;
        else delete button.dataset.words;
      }
  }

  async function chooseArms() {
    address.write({ a: arm("arm_a"), b: arm("arm_b") });
    all(".contests").forEach(fillMatrix);
    for (const figure of views.keys()) await applyArms(figure);
  }

  function chooseMetric() {
    if (metric() !== undefined)
      for (const part of all("[data-metric]")) part.hidden = part.dataset.metric !== metric();
    return drawAll();
  }

  // Downloads and copies

  function save(name, type, content) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  // A chart as a file: with its title, in its full width and on white, as `report --format` writes it.
  async function onPaper(figure, work) {
    const spec = specification(figure);
    if (spec.width === "container") spec.width = 900;
    if (views.get(figure)) spec.datasets = views.get(figure).spec.datasets;
    const config = { ...themes.light, background: "white", font: "sans-serif" };
    const { view } = await vegaEmbed(document.createElement("div"), spec, { config, actions: false });
    await work(view);
    view.finalize();
  }

  const quoted = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };

  function csv(figure) {
    const [rows] = Object.values(views.get(figure).spec.datasets);
    const names = [...new Set(rows.flatMap(Object.keys))];
    return [names, ...rows.map((row) => names.map((name) => row[name]))].map((line) => line.map(quoted).join(",")).join("\n") + "\n";
  }

  function button(text, label, act) {
    const made = document.createElement("button");
    Object.assign(made, { type: "button", textContent: text });
    made.setAttribute("aria-label", label);
    made.addEventListener("click", () => act(made));
    return made;
  }

  function tools(figure) {
    if (one(".tools", figure)) return;
    const bar = document.createElement("div");
    bar.className = "tools";
    const name = nameOf(figure);
    bar.append(
      button("SVG", `Save ${name} as SVG`, () =>
        onPaper(figure, async (view) => save(`${name}.svg`, "image/svg+xml", await view.toSVG()))),
      button("PNG", `Save ${name} as PNG`, () =>
        onPaper(figure, async (view) => {
          const canvas = await view.toCanvas(2);
          await new Promise((done) => canvas.toBlob((blob) => { save(`${name}.png`, "image/png", blob); done(); }));
        })),
      button("CSV", `Save the rows of ${name} as CSV`, () => save(`${name}.csv`, "text/csv", csv(figure))),
    );
    one("figcaption", figure).after(bar);
  }

  const cellText = (cell) => {
    const copy = cell.cloneNode(true);
    for (const hidden of all("pre", copy)) hidden.remove();
    for (const part of all("button span + span, small", copy)) part.prepend(" ");
    return copy.textContent.replace(/\s+/g, " ").trim().replaceAll("|", "\\|");
  };

  function markdown(table) {
    const rows = [...table.rows].filter((row) => !row.hidden);
    const lines = rows.map((row) => [...row.cells].filter((cell) => getComputedStyle(cell).display !== "none").map(cellText));
    lines.splice(1, 0, lines[0].map(() => "---"));
    return lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n") + "\n";
  }

  async function copy(text) {
    try { await navigator.clipboard.writeText(text); }
    catch { // a page from a folder may not be trusted with the clipboard
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }

  for (const region of all(".scroll")) {
    const table = one("table", region);
    const bar = document.createElement("div");
    bar.className = "tools";
    const label = `Copy the table "${region.getAttribute("aria-label")}" as Markdown`;
    bar.append(button("Copy as Markdown", label, async (made) => {
      await copy(markdown(table));
      made.textContent = "Copied";
      setTimeout(() => { made.textContent = "Copy as Markdown"; }, 1500);
    }));
    region.after(bar);
  }

  // Words of a cell, by pointer, finger and keyboard alike

  const tip = document.getElementById("tip");
  function showTip(on) {
    const lines = [on.dataset.tip, ...(on.dataset.words || "").split("; ")].filter(Boolean);
    tip.replaceChildren(...lines.map((line) => Object.assign(document.createElement("div"), { textContent: line })));
    tip.hidden = false;
    const box = on.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.left), innerWidth - tip.offsetWidth - 8);
    const below = box.bottom + 6 + tip.offsetHeight < innerHeight;
    Object.assign(tip.style, { left: `${left}px`, top: `${below ? box.bottom + 6 : box.top - 6 - tip.offsetHeight}px` });
    on.setAttribute("aria-describedby", "tip");
  }
  function hideTip() {
    tip.hidden = true;
    for (const on of all("[aria-describedby=tip]")) on.removeAttribute("aria-describedby");
  }
  const tipped = (event) => event.target.closest?.("td.verdict")?.querySelector("[data-tip]");
  for (const kind of ["pointerover", "focusin", "click"])
    document.addEventListener(kind, (event) => { const on = tipped(event); if (on) showTip(on); else if (kind === "click") hideTip(); });
  for (const kind of ["pointerout", "focusout"]) document.addEventListener(kind, (event) => {
    if (tipped(event) && event.pointerType !== "touch") hideTip();
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
  addEventListener("scroll", hideTip, { passive: true });

  // Tables of jobs: sorted and filtered as a whole, shown in part

  const SHOWN = 200; // rows at a time
  const waiting = new Map(); // stem -> who waits for its rows
  window.mtbenchRows = (stem, found) => waiting.get(stem)?.(found);

  function script(source) {
    return new Promise((done) => {
      const made = document.createElement("script");
      made.src = source;
      made.addEventListener("load", done);
      made.addEventListener("error", done);
      document.head.append(made);
    });
  }

  // Rows as a table needs them: what a column is sorted by, the status, the words to look for, and an element when it is shown.

  const rowOf = (element) => ({
    element: () => element,
    sort: (column) => element.cells[column].dataset.sort ?? element.cells[column].textContent.trim(),
    status: () => one(".status", element).textContent,
    words: () => element.textContent.toLowerCase(),
  });

  const entities = { amp: "&", lt: "<", gt: ">", nbsp: " ", "#34": '"', "#39": "'" };
  const plain = (html) => html.replace(/<[^>]*>/g, " ").replace(/&(#?\w+);/g, (whole, name) => entities[name] ?? whole);

  // The rows of a script (mtbench.report.rows.JobRows.packed): no element is made of what is not shown.
  function packedRows({ numbers, columns }, kinds) {
    const known = new Map(); // many cells have the same words
    const wordsOf = (html) => {
      if (!known.has(html)) known.set(html, plain(html).toLowerCase());
      return known.get(html);
    };
    const cells = columns.map(({ html, sort, aside }) =>
      ({ html: cellsOf(html), sort: sort && cellsOf(sort), aside: aside && cellsOf(aside) }));
    const status = cells[kinds.indexOf("status-of")].sort;
    return numbers.map((number, row) => ({
      element() {
        const made = document.createElement("tr");
        cells.forEach(({ html, sort, aside }, column) => {
          const cell = made.insertCell();
          if (kinds[column]) cell.className = kinds[column];
          if (sort) cell.dataset.sort = sort[row] ?? "";
          cell.innerHTML = html[row].replace("job.html#\0", `job.html#${number}`);
          if (aside?.[row]) cell.insertAdjacentHTML("beforeend", ` <small>${aside[row]}</small>`);
        });
        return made;
      },
      sort: (column) => String(cells[column].sort ? cells[column].sort[row] ?? "" : plain(cells[column].html[row]).trim()),
      status: () => status[row],
      words: () => cells.map(({ html, aside }) => wordsOf(html[row]) + (aside ? ` ${wordsOf(aside[row])}` : "")).join(" "),
    }));
  }

  async function rowsOf(stem, kinds) {
    const arrived = new Promise((done) => waiting.set(stem, done));
    await script(`assets/rows-${stem}.js`);
    const found = await Promise.race([arrived, null]);
    return found ? packedRows(found, kinds) : [];
  }

  function jobTable(table) {
    const body = table.tBodies[0];
    const filters = table.dataset.stems === undefined ? null : table.closest(".scroll").previousElementSibling;
    const total = Number(table.dataset.total || body.rows.length);
    const more = filters && table.closest("section, main").querySelector(".more");
    const [input, select, output] = ["input", "select", "output"].map((name) => filters && one(name, filters));
    const kinds = [...table.tHead.rows[0].cells].map((header) => header.className);
    let rows = [...body.rows].map(rowOf), whole = rows.length === total, texts, limit = filters ? SHOWN : Infinity, sort = "";

    async function loadAll() {
      if (whole) return;
      document.documentElement.dataset.busy = "";
      output.textContent = "loading …";
      const found = (await Promise.all(table.dataset.stems.split(" ").map((stem) => rowsOf(stem, kinds)))).flat();
      if (found.length) { rows = found; whole = true; texts = undefined; }
      delete document.documentElement.dataset.busy;
    }

    // Sorting by a cell's number where it gives one, else by its text; what was not measured stays last either way.
    function sorted(found) {
      const comma = sort.lastIndexOf(",");
      const [name, order] = [sort.slice(0, comma), sort.slice(comma + 1)];
      const headers = [...table.tHead.rows[0].cells];
      const column = headers.findIndex((header) => header.textContent === name);
      for (const header of headers) header.removeAttribute("aria-sort");
      if (column < 0) return found;
      headers[column].setAttribute("aria-sort", order);
      const keyed = found.map((row) => {
        const text = row.sort(column);
        return { row, text, number: text === "" ? NaN : Number(text) };
      });
      const numeric = keyed.every(({ text, number }) => text === "" || !Number.isNaN(number));
      const sign = order === "descending" ? -1 : 1;
      const compare = (x, y) => sign * (numeric ? x.number - y.number : collator.compare(x.text, y.text));
      keyed.sort((x, y) => (x.text === "") - (y.text === "") || (x.text === "" ? 0 : compare(x, y)));
      return keyed.map(({ row }) => row);
    }

    async function apply() {
      const wanted = (input?.value || "").toLowerCase().split(/\s+/).filter(Boolean);
      const status = select?.value || "";
      if (wanted.length || status || sort || limit > SHOWN) await loadAll();
      if (wanted.length) texts ||= new Map(rows.map((row) => [row, row.words()]));
      const shown = sorted(rows.filter((row) =>
        (!status || row.status() === status) && wanted.every((word) => texts.get(row).includes(word))));
      body.replaceChildren(...shown.slice(0, limit).map((row) => row.element()));
      const count = whole ? shown.length : total;
      if (output) output.textContent = `${count} of ${total} jobs`;
      if (more) {
        more.hidden = count <= body.rows.length;
        one("button", more).textContent = `Show more: ${body.rows.length} of ${count} are shown`;
      }
    }

    for (const header of table.tHead.rows[0].cells) {
      const name = header.textContent;
      const click = document.createElement("button");
      Object.assign(click, { type: "button", className: "sort", textContent: name });
      header.replaceChildren(click);
      click.addEventListener("click", () => {
        sort = `${name},${header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending"}`;
        if (filters) address.write({ sort });
        apply();
      });
    }
    if (!filters) return;
    const { values } = address.read();
    input.value = values.q || "";
    if ([...select.options].some((option) => option.value === values.status)) select.value = values.status;
    sort = values.sort || "";
    let later;
    input.addEventListener("input", () => {
      clearTimeout(later);
      later = setTimeout(() => { address.write({ q: input.value }); apply(); }, 120);
    });
    select.addEventListener("change", () => { address.write({ status: select.value }); apply(); });
    one("button", more).addEventListener("click", () => { limit += 5 * SHOWN; apply(); });
    apply();
  }

  // The page of one job: its values are in a script of some jobs, which is loaded when one of them is asked for.
  async function showJob(heading) {
    const row = Number(address.read().anchor);
    const many = Number(heading.dataset.inAScript);
    if (!address.read().anchor || !Number.isInteger(row)) return;
    document.documentElement.dataset.busy = "";
    await script(`assets/jobs-${Math.floor(row / many)}.js`);
    const { rows, columns, samples, readings } = window.mtbenchJobs || { rows: 0 };
    const place = row % many;
    delete document.documentElement.dataset.busy;
    if (row < 0 || place >= rows) {
      document.getElementById("job-path").textContent = `This report has no job ${row}.`;
      return;
    }
    const [name, path, ...values] = columns.map((column) =>
      typeof column === "string" ? column : cellsOf(column)[place]);
    heading.textContent = document.title = name;
    document.getElementById("job-path").textContent = path;
    for (const cell of all("[data-column]")) {
      const restarts = samples[place][cell.dataset.samples];
      const text = restarts ? samplesText(restarts) : values[cell.dataset.column];
      cell.textContent = cell.dataset.json === undefined ? text : JSON.stringify(JSON.parse(text), null, 1);
    }
    const drift = all(".columns tbody tr").find((line) => line.cells[3].textContent === "canary_drift")?.cells[1].textContent;
    document.getElementById("job-drift").textContent = drift && drift !== "–" ? `The canary, a fixed product timed beside, changed by ${drift} over a restart at most.` : "";
    specs["job-samples"].datasets.blocks = blocks(samples[place]);
    specs["job-machine"].datasets.readings = readings[place];
    for (const [section, chart] of [["samples", "job-samples"], ["conditions", "job-machine"]]) {
      const [data] = Object.values(specs[chart].datasets);
      document.getElementById(section).hidden = data.length === 0;
      delete one(`#${section} .chart`).dataset.drawn;
      showEmptiness(one(`#${section} .chart`));
    }
    await drawAll();
  }

  function blocks(samples) {
    const found = [];
    for (const [metric, restarts] of Object.entries(samples)) {
      let number = 0;
      restarts.forEach((times, restart) => times.forEach((ns, round) => found.push({
        metric, ns, restart: restart + 1, round: round + 1, number: ++number, start: number - 0.5, first: round === 0,
        name: `restart ${restart + 1}`, text: duration(ns),
      })));
    }
    return found;
  }

  const TIMES = [["s", 1e9], ["ms", 1e6], ["µs", 1e3], ["ns", 1]];

  function duration(ns) {
    const [unit, size] = TIMES.find(([, each]) => ns >= each) || ["ns", 1];
    return `${(ns / size).toPrecision(4)} ${unit}`;
  }

  // The blocks of a job, a line for each restart, all in the unit and to the decimals of its first (results.format.durations).
  function samplesText(restarts) {
    const lines = restarts.map((times, restart) => {
      if (!times.length) return "";
      const [unit, size] = TIMES.find(([, each]) => times[0] >= 0.9995 * each) || ["ns", 1];
      const decimals = Math.max(0, 2 - Number((times[0] / size).toExponential(2).split("e")[1]));
      return `restart ${restart + 1}, blocks: ${times.map((ns) => (ns / size).toFixed(decimals)).join(", ")} ${unit}`;
    });
    return lines.filter(Boolean).join("\n");
  }

  function start() {
    const { anchor, values } = address.read();
    for (const [name, id] of [["a", "arm_a"], ["b", "arm_b"]]) {
      const select = document.getElementById(id);
      if (select && [...select.options].some((option) => option.value === values[name])) select.value = values[name];
    }
    const radio = all("input[name=metric]").find((input) => input.value === values.metric);
    if (radio) radio.checked = true;
    document.getElementById("theme").addEventListener("click", () => {
      const chosen = themeName() === "dark" ? "light" : "dark";
      document.documentElement.dataset.theme = chosen;
      try { localStorage.setItem("mtbench-theme", chosen); } catch { /* storage may be forbidden; the page follows anyway */ }
      drawAll();
    });
    document.getElementById("swap")?.addEventListener("click", () => {
      const [a, b] = ["arm_a", "arm_b"].map((id) => document.getElementById(id));
      [a.value, b.value] = [b.value, a.value];
      chooseArms();
    });
    systemDark.addEventListener("change", drawAll);
    document.addEventListener("toggle", (event) => { if (one(".chart", event.target)) drawAll(); }, true);
    addEventListener("beforeprint", () => { for (const fold of all("details.fold")) fold.open = true; });
    const named = anchor ? document.getElementById(anchor) : null;
    if (named?.matches("details")) named.open = true;
    let later;
    addEventListener("resize", () => { clearTimeout(later); later = setTimeout(drawAll, 200); });
    for (const select of all("#arm_a, #arm_b")) select.addEventListener("change", chooseArms);
    for (const input of all("input[name=metric]"))
      input.addEventListener("change", () => { address.write({ metric: metric() }); chooseMetric(); });
    all("table.sortable").forEach(jobTable);
    if (values.a) all(".contests").forEach(fillMatrix);
    const job = document.getElementById("job");
    if (job) {
      addEventListener("hashchange", () => showJob(job));
      showJob(job);
    } else if (all(".chart").length) {
      const drawn = chooseMetric();
      if (anchor && values) document.getElementById(anchor)?.scrollIntoView();
      if (anchor) drawn.then(() => document.getElementById(anchor)?.scrollIntoView());
    }
  }

  // The scripts of Vega and of the charts come after this one.
  if (document.readyState === "loading") {
    document.documentElement.dataset.busy = "";
    addEventListener("DOMContentLoaded", () => { delete document.documentElement.dataset.busy; start(); });
  } else start();
})();
