// Draws window.__page = {dashboard, prometheus, from, to, step}; sets the title to "ready [errors]" when all is drawn.
import React from 'react';
import { createRoot } from 'react-dom/client';
import { createTheme, ThemeContext } from '@grafana/data';
import { GlobalStyles } from '@grafana/ui';
import 'uplot/dist/uPlot.min.css';
import { Panel } from './panels.jsx';
import { ask } from './query.js';

const { dashboard, chosen, width } = window.__page;
const CELL = { width: width / 24, height: 36, gap: 8, title: 32 };
const theme = createTheme({ colors: { mode: 'dark' } });
const errors = [];
window.onerror = (message) => errors.push(String(message));

class Guard extends React.Component {
  state = {};

  static getDerivedStateFromError(error) {
    errors.push(String(error));
    return { error };
  }

  render() {
    return this.state.error ? <pre style={{ color: 'red' }}>{String(this.state.error)}</pre> : this.props.children;
  }
}

async function drawable(panel) {
  let series = [];
  try { series = await ask(panel); } catch (error) { errors.push(`${panel.title}: ${error.message}`); }
  if (panel.targets?.length && !series.length) errors.push(`${panel.title}: no data`);
  return { panel, series };
}

function place({ x, y, w, h }) {
  return { position: 'absolute', left: x * CELL.width, top: y * CELL.height + 52, width: w * CELL.width - CELL.gap, height: h * CELL.height - CELL.gap };
}

function Box({ panel, series }) {
  const box = place(panel.gridPos);
  if (panel.type === 'row') return <div style={{ ...box, fontSize: 15, fontWeight: 500, lineHeight: '28px' }}>⌄ {panel.title}</div>;
  return <div style={{ ...box, background: theme.colors.background.primary, border: `1px solid ${theme.colors.border.weak}`, borderRadius: 2, overflow: 'hidden' }}>
    <div style={{ padding: '6px 8px', height: CELL.title, fontSize: 14, fontWeight: 500, whiteSpace: 'nowrap' }}>{panel.title}</div>
    <Guard><Panel panel={panel} series={series} theme={theme} width={box.width - 12} height={box.height - CELL.title - 6} /></Guard>
  </div>;
}

const flat = dashboard.panels.flatMap((panel) => [panel, ...(panel.panels || [])]);
const drawn = await Promise.all(flat.map(drawable));
createRoot(document.getElementById('root')).render(
  <ThemeContext.Provider value={theme}><GlobalStyles />
    <div style={{ position: 'relative', width, color: theme.colors.text.primary, fontFamily: theme.typography.fontFamily, margin: 4 }}>
      <div style={{ padding: '10px 4px', fontSize: 20 }}>{dashboard.title}<span style={{ fontSize: 13, color: theme.colors.text.secondary, marginLeft: 24 }}>{chosen}</span></div>
      {drawn.map((each) => <Box key={each.panel.id} {...each} />)}
    </div></ThemeContext.Provider>);
setTimeout(() => { document.title = `ready ${JSON.stringify(errors)}`; }, 1000);
