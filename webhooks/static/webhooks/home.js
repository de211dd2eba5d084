// Draws Home's charts from the JSON that the page brings. A refresh brings new figures to the charts that are there:
// nothing flickers, and a pointer on a chart stays where it is.
"use strict";
(() => {
  const COLOURS = {
    stored: "--tblr-green", duplicate: "--tblr-azure", unsigned: "--tblr-purple", refused: "--tblr-orange",
    too_large: "--tblr-yellow", too_slow: "--tblr-cyan", hung_up: "--tblr-secondary",
    unavailable: "--tblr-red", failed: "--tblr-pink", p50: "--tblr-azure", p99: "--tblr-orange",
  };
  // Lines differ by their dashes too: colour alone tells nothing.
  const DASHES = { duplicate: [6, 3], unsigned: [2, 2], refused: [8, 3, 2, 3], too_large: [1, 4], too_slow: [10, 4, 2, 4], hung_up: [3, 6], unavailable: [12, 3], failed: [4, 2], p99: [6, 3] };
  const UNITS = { received: " a minute", acknowledged: " ms" };
  const HEIGHT = 220;

  const charts = new Map();
  const css = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();
  const figures = () => JSON.parse(document.getElementById("home-figures").textContent);

  const drawMarks = (marks) => (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = css("--tblr-secondary");
    ctx.font = `${11 * devicePixelRatio}px ${css("--tblr-font-sans-serif") || "sans-serif"}`;
    ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
    for (const mark of marks) {
      const x = Math.round(plot.valToPos(mark.at, "x", true));
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      const isLeft = x > bbox.left + bbox.width * 0.8;
      ctx.textAlign = isLeft ? "right" : "left";
      ctx.fillText(mark.name, x + (isLeft ? -4 : 4) * devicePixelRatio, bbox.top + 12 * devicePixelRatio);
    }
    ctx.restore();
  };

  const seriesOf = (one, unit) => ({
    label: one.label,
    stroke: css(COLOURS[one.name]),
    dash: DASHES[one.name],
    width: 2,
    points: { show: false },
    value: (_plot, value) => (value === null || value === undefined ? "–" : `${value.toLocaleString("en")}${unit}`),
  });

  // Without a pointer on the chart, the legend shows the newest figures.
  const showNewest = (plot) => plot.setLegend({ idx: plot.data[0].length - 1 });

  const options = (place, name, series, marks) => {
    const axis = { stroke: css("--tblr-secondary"), grid: { stroke: css("--tblr-border-color"), width: 1 }, ticks: { show: false } };
    return {
      width: Math.max(200, place.clientWidth),
      height: HEIGHT,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: { y: { range: (_plot, _least, most) => [0, Math.max(1, (most || 0) * 1.1)] } },
      axes: [
        { ...axis, values: (_plot, at) => at.map((seconds) => labelOf(seconds, at)) },
        { ...axis, size: 48, values: (_plot, values) => values.map((value) => value.toLocaleString("en")) },
      ],
      series: [{ value: (_plot, at) => (at ? new Date(at * 1000).toISOString().slice(0, 16).replace("T", " ") + " UTC" : "–") },
        ...series.map((one) => seriesOf(one, UNITS[name]))],
      cursor: { drag: { x: false, y: false } },
      hooks: { draw: [drawMarks(marks)], ready: [showNewest] },
    };
  };

  const labelOf = (seconds, all) => {
    const at = new Date(seconds * 1000).toISOString();
    const isOverDays = all.length > 1 && all[all.length - 1] - all[0] > 2 * 86400;
    return isOverDays ? at.slice(5, 10) : at.slice(11, 16);
  };

  const draw = (place) => {
    const name = place.dataset.chart;
    const { at, marks, [name]: series } = figures();
    const shape = JSON.stringify([series.map((one) => one.name), marks]);
    const data = [at, ...series.map((one) => one.values)];
    const known = charts.get(name);
    if (known && known.shape === shape && known.place === place && place.contains(known.plot.root)) {
      const isPointedAt = known.plot.cursor.left >= 0;
      known.plot.setData(data);
      if (!isPointedAt) queueMicrotask(() => showNewest(known.plot)); // After uPlot's own, which shows none.
      return;
    }
    if (known) known.plot.destroy();
    const plot = new uPlot(options(place, name, series, marks), data, place);
    charts.set(name, { place, shape, plot });
    plot.over.addEventListener("mouseleave", () => showNewest(plot));
  };

  const places = () => document.querySelectorAll("[data-chart]");
  const redraw = () => {
    for (const { plot } of charts.values()) plot.destroy();
    charts.clear();
    places().forEach(draw);
  };

  // The page that a refresh brings has empty places for the charts: leave what is drawn there alone.
  const before = Idiomorph.defaults.callbacks.beforeNodeMorphed;
  Idiomorph.defaults.callbacks.beforeNodeMorphed = (old, fresh) =>
    old instanceof Element && old.matches("[data-chart]") && fresh.id === old.id ? false : before(old, fresh);

  document.addEventListener("htmx:afterSettle", () => places().forEach(draw));
  document.addEventListener("hookline:theme", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("resize", () => {
    for (const { place, plot } of charts.values()) plot.setSize({ width: Math.max(200, place.clientWidth), height: HEIGHT });
  });
  places().forEach(draw);
})();
