// Asks Prometheus what a panel asks, and turns its answers into series, frames and rows as Grafana would.
import { FieldType, getDisplayProcessor, toDataFrame } from '@grafana/data';

const { prometheus, from, to, step } = window.__page;

async function answer(target) {
  const times = target.instant ? `query?time=${to}` : `query_range?start=${from}&end=${to}&step=${step}`;
  const reply = await (await fetch(`${prometheus}/api/v1/${times}&query=${encodeURIComponent(target.expr)}`)).json();
  if (reply.status !== 'success') throw new Error(reply.error);
  return reply.data.result;
}

function legend(target, metric) {
  if (target.legendFormat) return target.legendFormat.replace(/{{\s*(\w+)\s*}}/g, (_, label) => metric[label] || '').trim();
  const labels = Object.entries(metric).filter(([name]) => name !== '__name__');
  return labels.map(([, value]) => value).join(' ') || metric.__name__ || 'Value';
}

// Returns [{metric, legend, values, refId}] of all queries of a panel; values are [seconds, number].
export async function ask(panel) {
  const answers = await Promise.all((panel.targets || []).map(async (target) => [target, await answer(target)]));
  return answers.flatMap(([target, found]) => found.map((series) => ({
    metric: series.metric,
    legend: legend(target, series.metric),
    values: (series.values || [series.value]).map(([at, value]) => [at, Number(value)]),
    refId: target.refId,
  })));
}

function put(config, id, value) {
  const keys = id.split('.');
  const inner = keys.slice(0, -1).reduce((at, key) => { at[key] = { ...at[key] }; return at[key]; }, config);
  inner[keys.at(-1)] = value;
}

// The field configuration of one series or column: the panel's defaults and the overrides that match it.
export function configOf(panel, name, refId) {
  const config = { ...panel.fieldConfig?.defaults };
  for (const { matcher, properties } of panel.fieldConfig?.overrides || []) {
    const fits = { byName: name, byFrameRefID: refId }[matcher.id] === matcher.options;
    if (fits) properties.forEach(({ id, value }) => put(config, id, value));
  }
  return config;
}

export const shown = (theme, config, value) => getDisplayProcessor({ field: { type: FieldType.number, config }, theme })(value);
export const words = (display) => `${display.prefix || ''}${display.text}${display.suffix || ''}`;

function lineFrame(panel, series, theme, place) {
  const config = configOf(panel, series.legend, series.refId);
  const stacking = { group: 'A', mode: 'none', ...config.custom?.stacking };
  const field = { ...config, displayName: series.legend, custom: { ...config.custom, stacking }, color: { mode: 'palette-classic' } };
  const frame = toDataFrame({ name: series.legend, fields: [
    { name: 'time', type: FieldType.time, values: series.values.map(([at]) => at * 1000), config: {} },
    { name: series.legend, type: FieldType.number, values: series.values.map(([, value]) => value), config: field },
  ] });
  frame.fields.forEach((each) => {
    each.state = { seriesIndex: place, displayName: each.name };
    each.display = getDisplayProcessor({ field: each, theme, timeZone: 'utc' });
  });
  return frame;
}

export const lineFrames = (panel, series, theme) => {
  const latest = (each) => each.values.at(-1)[1];
  return [...series].sort((a, b) => latest(b) - latest(a)).map((each, place) => lineFrame(panel, each, theme, place));
};

// Rows of a table as Grafana's transformations merge and organize leave them: labels first, then a column per query.
export function rows(panel, series) {
  const found = new Map();
  for (const { metric, refId, values } of series) {
    const labels = Object.fromEntries(Object.entries(metric).filter(([name]) => name !== '__name__'));
    const key = JSON.stringify(Object.entries(labels).sort());
    found.set(key, { ...found.get(key), ...labels, [`Value #${refId}`]: values.at(-1)[1] });
  }
  const merged = joined([...found.values()]);
  const order = panel.transformations.find(({ id }) => id === 'organize').options;
  const labels = Object.keys(order.indexByName).filter((name) => merged.some((row) => name in row));
  const queries = panel.targets.map(({ refId }) => `Value #${refId}`).filter((name) => merged.some((row) => name in row));
  const columns = [
    ...labels.map((name) => ({ name, header: order.renameByName[name] || name, label: true })),
    ...queries.map((name) => ({ name, header: configOf(panel, name).displayName || name, config: configOf(panel, name) })),
  ];
  return { columns, rows: sorted(panel, merged, columns) };
}

// Merge joins rows that agree in what both have: a query with fewer labels fills in every row that it fits.
function joined(all) {
  const names = (row) => Object.keys(row).filter((name) => !name.startsWith('Value #'));
  const most = Math.max(...all.map((row) => names(row).length));
  const whole = all.filter((row) => names(row).length === most);
  const fits = (row, part) => names(part).every((name) => row[name] === part[name]);
  for (const part of all.filter((row) => names(row).length < most)) {
    const homes = whole.filter((row) => fits(row, part));
    homes.forEach((row) => Object.assign(row, part));
    if (!homes.length) whole.push(part);
  }
  return whole;
}

function sorted(panel, all, columns) {
  const transformed = panel.transformations.find(({ id }) => id === 'sortBy')?.options.sort[0];
  const by = panel.options?.sortBy?.[0] || transformed;
  const column = by && columns.find(({ name, header }) => header === by.displayName || name === by.field);
  const weight = (row) => (row[column.name] ?? -Infinity);
  return column ? [...all].sort((a, b) => (by.desc ? weight(b) - weight(a) : weight(a) - weight(b))) : all;
}
