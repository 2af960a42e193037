"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const charts = document.getElementById("charts");
  const axis = document.getElementById("axis");
  const log = document.getElementById("log");
  const shown = data.groups.map(() => true);
  const plots = [];
  const HEIGHT = 240;

  for (const name of data.axes) {
    axis.add(new Option(name, name, false, name === data.axis));
  }

  if (data.groups.length > 1) {
    data.groups.forEach((group, at) => {
      const label = document.createElement("label");
      const box = document.createElement("input");
      const dot = document.createElement("span");
      box.type = "checkbox";
      box.checked = true;
      box.addEventListener("change", () => { shown[at] = box.checked; draw(); });
      dot.className = "dot";
      dot.style.background = group.colour;
      label.append(box, dot, group.name);
      document.getElementById("groups").append(label);
    });
  }

  // uPlot wants one rising row of places for all series, and numbers or null.
  function table(lines) {
    const tables = lines.map((line) => {
      const xs = data.pool[line.along[axis.value]];
      const ys = data.pool[line.values];
      const pairs = [];
      let last = -Infinity;
      xs.forEach((x, at) => {
        const y = ys[at];
        if (x !== null && x > last && !(log.checked && y !== null && y <= 0)) {
          pairs.push([x, y]);
          last = x;
        }
      });
      return [pairs.map((pair) => pair[0]), pairs.map((pair) => pair[1])];
    });
    return tables.length ? uPlot.join(tables) : [[]];
  }

  function short(value) {
    return value === null || value === undefined ? "" : String(Number(value.toPrecision(5)));
  }

  function made(metric, lines) {
    const box = document.createElement("div");
    const title = document.createElement("h3");
    const under = document.createElement("div");
    box.className = "chart";
    title.textContent = metric;
    under.className = "under";
    box.append(title);
    charts.append(box);
    const series = lines.map((line) => ({
      label: line.name,
      stroke: data.groups[line.group].colour,
      width: 1.3,
      spanGaps: true,
      points: { show: false },
    }));
    const plot = new uPlot({
      width: Math.max(200, box.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      cursor: { sync: { key: "all" }, focus: { prox: 24 } },
      focus: { alpha: 0.35 },
      scales: { x: { time: false }, y: { distr: log.checked ? 3 : 1 } },
      axes: [
        { values: (_, ticks) => ticks.map(short) },
        { values: (_, ticks) => ticks.map(short), size: 62 },
      ],
      series: [{ label: axis.value }, ...series],
      hooks: {
        setCursor: [(u) => {
          const at = u.cursor.idx;
          const near = u.series.findIndex((one, number) => number > 0 && one._focus);
          if (at === null || at === undefined) { under.textContent = ""; return; }
          const value = near > 0 ? u.data[near][at] : null;
          const what = value === null || value === undefined ? "" : `: ${lines[near - 1].name} ${short(value)}`;
          under.textContent = `${axis.value} ${short(u.data[0][at])}${what}`;
        }],
      },
    }, table(lines), box);
    box.append(under);
    plots.push([plot, box]);
  }

  function draw() {
    plots.splice(0).forEach(([plot]) => plot.destroy());
    charts.replaceChildren();
    for (const [metric, lines] of Object.entries(data.charts)) {
      const seen = lines.filter((line) => shown[line.group] && axis.value in line.along);
      if (seen.length) made(metric, seen);
    }
  }

  axis.addEventListener("change", draw);
  log.addEventListener("change", draw);
  window.addEventListener("resize", () => {
    plots.forEach(([plot, box]) => plot.setSize({ width: Math.max(200, box.clientWidth), height: HEIGHT }));
  });
  draw();
})();
