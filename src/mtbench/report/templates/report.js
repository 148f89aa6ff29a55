// The pages' behaviour: draws the charts in the page's theme, lets two arms be chosen, sorts and filters the tables.
(() => {
  "use strict";
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const themes = JSON.parse(document.getElementById("themes").textContent);
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const views = new Map(); // figure -> what vega-embed returned

  const themeName = () => document.documentElement.dataset.theme || (systemDark.matches ? "dark" : "light");
  const metric = () => document.querySelector("input[name=metric]:checked")?.value;
  const arm = (name) => document.getElementById(name)?.value;

  // The specification with the arms that are chosen now, so that a chart drawn again shows what it showed.
  function specification(figure) {
    const spec = JSON.parse(figure.querySelector("script").textContent);
    for (const param of spec.params || []) if (arm(param.name) !== undefined) param.value = arm(param.name);
    return spec;
  }

  async function draw(figure) {
    const name = themeName();
    const drawn = await vegaEmbed(figure.querySelector(".drawing"), specification(figure), {
      renderer: "svg",
      config: themes[name],
      tooltip: { theme: "custom" },
      actions: { export: true, source: false, compiled: false, editor: false },
      downloadFileName: figure.querySelector(".drawing").id,
    });
    views.get(figure)?.finalize();
    views.set(figure, drawn);
    figure.dataset.drawn = name;
    await applyArms(figure); // they may have been changed while this was being drawn
  }

  // One after the other, so that a page with many charts answers meanwhile. A newer request ends an older one.
  let request = 0;
  async function drawAll() {
    const mine = ++request;
    document.documentElement.dataset.busy = "";
    for (const figure of all(".chart:not([hidden])")) {
      if (mine !== request) return;
      if (figure.dataset.drawn !== themeName()) await draw(figure);
      await new Promise(requestAnimationFrame);
    }
    if (mine === request) delete document.documentElement.dataset.busy;
  }

  function showEmptiness(figure) {
    if (figure.dataset.kind !== "ratio") return;
    const { cells } = views.get(figure).spec.datasets;
    const some = cells.some((cell) => cell.a === arm("arm_a") && cell.b === arm("arm_b"));
    figure.querySelector(".drawing").hidden = !some;
    figure.querySelector(".empty").hidden = some;
  }

  async function applyArms(figure) {
    const { view, spec } = views.get(figure);
    const own = (spec.params || []).filter((param) => arm(param.name) !== undefined);
    for (const param of own) view.signal(param.name, arm(param.name));
    if (own.length) await view.runAsync();
    showEmptiness(figure);
  }

  async function chooseArms() {
    for (const figure of views.keys()) await applyArms(figure);
  }

  function chooseMetric() {
    for (const figure of all(".chart")) figure.hidden = figure.dataset.metric !== metric();
    drawAll();
  }

  // Sorting by a cell's number where it gives one, else by its text; what was not measured stays last either way.
  function sortBy(header) {
    const table = header.closest("table");
    const column = [...header.parentNode.children].indexOf(header);
    const descending = header.getAttribute("aria-sort") === "ascending";
    for (const other of all("th", table)) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const keyed = [...table.tBodies[0].rows].map((row) => {
      const cell = row.cells[column];
      const text = cell.dataset.sort ?? cell.textContent.trim();
      const number = text === "" ? NaN : Number(text);
      return { row, text, number };
    });
    const numeric = keyed.every(({ text, number }) => text === "" || !Number.isNaN(number));
    const compare = (x, y) =>
      (x.text === "") - (y.text === "") ||
      (descending ? -1 : 1) * (numeric ? x.number - y.number : x.text.localeCompare(y.text));
    keyed.sort((x, y) => (x.text === "" && y.text === "" ? 0 : compare(x, y)));
    table.tBodies[0].append(...keyed.map(({ row }) => row));
  }

  function filterBy(filters) {
    const rows = [...filters.nextElementSibling.querySelector("tbody").rows];
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const states = rows.map((row) => row.querySelector(".status").textContent);
    const [input, select, output] = ["input", "select", "output"].map((name) => filters.querySelector(name));
    const apply = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row, index) => {
        const fits = (!select.value || states[index] === select.value) && words.every((w) => texts[index].includes(w));
        row.hidden = !fits;
        shown += fits;
      });
      output.textContent = `${shown} of ${rows.length} jobs`;
    };
    let waiting;
    input.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(apply, 80); });
    select.addEventListener("change", apply);
    apply(); // a browser that goes back to a page restores its fields, not what followed from them
  }

  // The page of one job: its values are in a script of some jobs, which is loaded when one of them is asked for.
  function showJob(heading) {
    const row = Number(location.hash.slice(1));
    const many = Number(heading.dataset.inAScript);
    if (!location.hash || !Number.isInteger(row)) return;
    document.documentElement.dataset.busy = "";
    const script = document.createElement("script");
    script.src = `assets/jobs-${Math.floor(row / many)}.js`;
    script.addEventListener("load", () => {
      const { texts, rows } = window.mtbenchJobs;
      const [name, path, ...values] = rows[row % many].map((index) => texts[index]);
      heading.textContent = name;
      document.getElementById("job-path").textContent = path;
      for (const cell of all("[data-column]")) {
        const text = values[cell.dataset.column];
        cell.textContent = cell.dataset.json === undefined ? text : JSON.stringify(JSON.parse(text), null, 1);
      }
      delete document.documentElement.dataset.busy;
    });
    document.head.append(script);
  }

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
  for (const select of all("#arm_a, #arm_b")) select.addEventListener("change", chooseArms);
  for (const radio of all("input[name=metric]")) radio.addEventListener("change", chooseMetric);
  for (const header of all(".jobs th")) {
    header.tabIndex = 0;
    header.addEventListener("click", () => sortBy(header));
    header.addEventListener("keydown", (event) => { if (event.key === "Enter") sortBy(header); });
  }
  for (const filters of all(".filters")) filterBy(filters);
  const job = document.getElementById("job");
  if (job) {
    addEventListener("hashchange", () => showJob(job));
    showJob(job);
  }
  if (all(".chart").length) chooseMetric();
})();
