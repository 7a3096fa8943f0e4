import { existsSync, statSync } from 'node:fs';
import { consequenceOf, regionConsequence } from './consequences.js';
import { ENGINE_TITLES, type EngineKind, type EnginePlace } from './engine-kinds.js';
import type { EngineAnswer } from './engine-probes.js';
import type { EngineStatus } from './local-engines.js';
import type { EngineWatch } from './managed-engine.js';
import { runningOf } from './pid-file.js';

/** One engine as `engines status` and `doctor` tell it. */
export interface EngineReport {
  readonly name: string;
  readonly region: string;
  readonly engine: EngineKind;
  readonly version: string | null;
  readonly address: string | null;
  readonly pid: number | null;
  /** `unwell`: its process runs, but it does not answer as it should. */
  readonly state: 'up' | 'unwell' | 'starting' | 'stopped' | 'died';
  /** RFC 3339; null where nobody knows. */
  readonly since: string | null;
  readonly detail: string;
  readonly logFile: string;
}

/** `answer` is null where there was nobody to ask. */
export function engineReport({ watch, ...place }: EngineStatus, answer: EngineAnswer | null): EngineReport {
  const { name, region, kind, address, logFile } = place;
  return {
    name,
    region,
    engine: kind,
    version: answer?.version ?? null,
    address,
    pid: watch.pid,
    state: watch.state === 'up' && answer?.well === false ? 'unwell' : watch.state,
    since: Number.isFinite(watch.sinceMs) ? new Date(watch.sinceMs).toISOString() : null,
    detail: answer?.detail ?? watch.detail ?? '',
    logFile,
  };
}

/**
 * A sentence for each engine that is not up, or for each region that has none up: what it is, since when, and what follows from it. `timeOf` formats
 * the time of `since`.
 */
export function engineFindings(reports: readonly EngineReport[], timeOf: (unixMs: number) => string): string[] {
  const regions = [...new Set(reports.map(({ region }) => region))];
  return regions.flatMap((region) => {
    const all = reports.filter((report) => report.region === region);
    const sick = all.filter(({ state }) => state !== 'up');
    const since = (report: EngineReport) => (report.since ? ` since ${timeOf(Date.parse(report.since))}` : '');
    if (sick.length === all.length && sick.every(({ state }) => state === 'stopped' || state === 'died')) {
      const last = sick.reduce((a, b) => ((a.since ?? '') > (b.since ?? '') ? a : b));
      return [`All engines of ${region} are down${since(last)}: ${regionConsequence(region)}`];
    }
    const away = new Set(sick.map(({ engine }) => engine));
    return sick.map((report) => {
      const detail = report.detail && report.state !== 'stopped' ? ` (${report.detail})` : '';
      const head = `${ENGINE_TITLES[report.engine]} of ${region} ${IS[report.state]}${since(report)}${detail}`;
      const log = report.state === 'died' || report.state === 'unwell' ? ` Its log: ${report.logFile}` : '';
      return `${head}: ${consequenceOf(report.engine, region, away)}${log}`;
    });
  });
}

const IS = {
  up: 'is up',
  unwell: 'is not well',
  starting: 'is starting',
  stopped: 'is stopped',
  died: 'is down',
} as const;

/**
 * What pid file and log tell of an engine that nobody watches: since when is the time of the pid file for one that runs, and for one that does
 * not the last time that it wrote to its log.
 */
export function watchOfFiles({ pidFile, logFile }: EnginePlace): EngineWatch {
  const running = runningOf(pidFile);
  if (running) return { state: 'up', sinceMs: changedMs(pidFile), pid: running.pid, detail: null };
  const sinceMs = changedMs(logFile);
  // Whoever stops an engine removes its pid file.
  return existsSync(pidFile)
    ? {
        state: 'died',
        sinceMs,
        pid: null,
        detail: 'the last line of its log; its process ended at some time after, and nobody watched it',
      }
    : { state: 'stopped', sinceMs, pid: null, detail: null };
}

function changedMs(file: string): number {
  try {
    return statSync(file).mtimeMs;
  } catch {
    return Number.NaN;
  }
}
