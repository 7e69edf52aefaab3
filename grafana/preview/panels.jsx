// Draws a panel. Stat, bar gauge and time series are Grafana's own components; tables, bar charts and text, which
// @grafana/ui has not or has only inside Grafana, are drawn plainly with Grafana's units and colours.
import React from 'react';
import { renderMarkdown } from '@grafana/data';
import { BarGauge, BigValue, BigValueColorMode, BigValueGraphMode, BigValueJustifyMode, BigValueTextMode, TimeSeries } from '@grafana/ui';
import { configOf, lineFrames, rows, shown, words } from './query.js';

const { from, to } = window.__page;
const PALETTE = ['#FF9830', '#FADE2A', '#73BF69', '#5794F2', '#B877D9', '#F2495C'];
const last = (series) => series.values.at(-1)[1];

function Stat({ panel, series, width, height, theme }) {
  const figures = series.length ? series : [null];
  return <div style={{ display: 'flex' }}>{figures.map((each, place) => {
    const value = each ? shown(theme, configOf(panel, each.legend, each.refId), last(each)) : { text: '—', numeric: NaN };
    const named = figures.length > 1 || panel.options.textMode === 'value_and_name';
    const title = named ? each?.legend : undefined;
    return <BigValue key={place} theme={theme} width={width / figures.length} height={height} value={{ ...value, title }} count={figures.length}
      colorMode={BigValueColorMode.Value} graphMode={BigValueGraphMode.None} justifyMode={BigValueJustifyMode.Auto} textMode={named ? BigValueTextMode.ValueAndName : BigValueTextMode.Auto} />;
  })}</div>;
}

function Ranked({ panel, series, width, height, theme }) {
  const config = configOf(panel, '');
  const field = { min: 0, max: Math.max(...series.map(last)), color: config.color };
  const display = (value) => shown(theme, { ...config, ...field }, value);
  const widest = (texts) => texts.reduce((a, b) => (b.length > a.length ? b : a), '');
  const aligned = { title: widest(series.map(({ legend }) => legend)), text: widest(series.map((each) => words(display(last(each))))) };
  return <div>{series.map((each, place) => <BarGauge key={place} theme={theme} width={width - 12} height={Math.min(34, height / series.length - 4)}
    itemSpacing={4} alignmentFactors={aligned} displayMode="basic" orientation="horizontal" value={{ ...display(last(each)), title: each.legend }} field={field} display={display} />)}</div>;
}

function Lines({ panel, series, width, height, theme }) {
  const range = { from: { valueOf: () => from * 1000 }, to: { valueOf: () => to * 1000 }, raw: {} };
  return <TimeSeries frames={lineFrames(panel, series, theme)} width={width} height={height} timeRange={range} timeZone="utc"
    legend={panel.options.legend} structureRev={1} />;
}

function Table({ panel, series, theme }) {
  const table = rows(panel, series);
  const linked = new Set((panel.fieldConfig.overrides || []).filter(({ properties }) => properties.some(({ id }) => id === 'links')).map(({ matcher }) => matcher.options));
  const cell = (column, value) => (column.label || value === undefined ? value : words(shown(theme, column.config, value)));
  const style = (column) => ({ padding: '5px 8px', textAlign: column.label ? 'left' : 'right', borderBottom: '1px solid #2a2d33', color: linked.has(column.header) ? theme.colors.text.link : undefined });
  return <table style={{ width: '100%', fontSize: 13, borderCollapse: 'collapse' }}>
    <thead><tr>{table.columns.map((column) => <th key={column.name} style={{ ...style(column), color: theme.colors.text.link, fontWeight: 500 }}>{column.header}</th>)}</tr></thead>
    <tbody>{table.rows.map((row, place) => <tr key={place}>{table.columns.map((column) => <td key={column.name} style={style(column)}>{cell(column, row[column.name])}</td>)}</tr>)}</tbody>
  </table>;
}

function Bars({ panel, series, width, height, theme }) {
  const { columns, rows: groups } = rows(panel, series);
  const [label, ...bars] = columns;
  const logs = series.map((each) => Math.log10(last(each)));
  const [low, high] = [Math.floor(Math.min(...logs)), Math.ceil(Math.max(...logs))];
  const room = width - 275;
  const x = (value) => 235 + (room * (Math.log10(value) - low)) / (high - low);
  const line = (height - 44) / groups.length;
  const thick = (line * 0.8) / bars.length;
  const ticks = Array.from({ length: high - low + 1 }, (_, place) => 10 ** (low + place));
  const text = { fill: theme.colors.text.secondary, fontSize: 12 };
  return <svg width={width} height={height}>
    {ticks.map((tick) => <g key={tick}><line x1={x(tick)} x2={x(tick)} y1={0} y2={height - 44} stroke="#2a2d33" />
      <text x={x(tick)} y={height - 28} textAnchor="middle" {...text}>{words(shown(theme, bars[0].config, tick))}</text></g>)}
    {groups.map((group, place) => <g key={place}><text x={228} y={line * (place + 0.55)} textAnchor="end" {...text}>{group[label.name]}</text>
      {bars.map((bar, nth) => group[bar.name] > 0 && <rect key={nth} x={x(10 ** low)} width={x(group[bar.name]) - x(10 ** low)} y={line * place + thick * nth} height={thick * 0.9} fill={PALETTE[nth]} />)}</g>)}
    {bars.map((bar, nth) => <g key={nth} transform={`translate(${235 + nth * 185}, ${height - 10})`}><rect width={14} height={4} y={-6} fill={PALETTE[nth]} /><text x={20} {...text}>{bar.header}</text></g>)}
  </svg>;
}

const Words = ({ panel }) => <div className="markdown-html" style={{ padding: '0 12px', fontSize: 14 }} dangerouslySetInnerHTML={{ __html: `<style>strong { font-weight: 600 }</style>${renderMarkdown(panel.options.content)}` }} />;

const KINDS = { stat: Stat, bargauge: Ranked, timeseries: Lines, table: Table, barchart: Bars, text: Words };

export function Panel(properties) {
  const Kind = KINDS[properties.panel.type];
  if (!Kind) throw new Error(`no drawing of panels of type ${properties.panel.type}`);
  if (properties.panel.targets?.length && !properties.series.length && Kind !== Stat) return <div style={{ padding: 12 }}>No data</div>;
  return <Kind {...properties} />;
}
