// The live figures: asked for every few seconds, shown in the table and as two lines.

const INTERVAL = 3000; // milliseconds
const SPAN = 300; // seconds that the chart shows
const WIDTH = 600, HEIGHT = 160;

const table = document.querySelector("#figures");
const state = document.querySelector("#state");
const chart = document.querySelector("#chart");
const seen = []; // figures of the last SPAN seconds, oldest first

async function look() {
  try {
    const answer = await fetch(table.dataset.url, { headers: { Accept: "application/json" }, redirect: "error" });
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    show(await answer.json());
    state.textContent = `As of ${new Date().toLocaleTimeString()}.`;
    delete state.dataset.old;
  } catch (error) {
    state.textContent = `Old figures: ${error.message}. Sign in again if that lasts.`;
    state.dataset.old = "";
  }
  setTimeout(look, INTERVAL);
}

function show(figures) {
  const before = seen.at(-1);
  if (before?.time === figures.time) return; // shared with somebody else who looks
  if (before && figures.records >= before.records)
    figures.rate = Math.round((10 * (figures.records - before.records)) / (figures.time - before.time)) / 10;
  seen.push(figures);
  while (seen[0].time < figures.time - SPAN) seen.shift();
  for (const output of table.querySelectorAll("output"))
    output.value = figures[output.dataset.figure]?.toLocaleString() ?? "unknown";
  chart.replaceChildren(line("connections", figures.time), line("rate", figures.time));
}

function line(name, now) {
  const known = seen.filter((figures) => figures[name] !== undefined);
  const most = Math.max(0, ...known.map((figures) => figures[name]));
  document.querySelector(`#${name}-most`).value = most.toLocaleString();
  const points = known.map((figures) => {
    const x = WIDTH - ((now - figures.time) / SPAN) * WIDTH;
    return `${x.toFixed(1)},${(HEIGHT - 4 - (figures[name] / (most || 1)) * (HEIGHT - 8)).toFixed(1)}`;
  });
  const polyline = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  polyline.setAttribute("class", name);
  polyline.setAttribute("points", points.join(" "));
  return polyline;
}

look();
