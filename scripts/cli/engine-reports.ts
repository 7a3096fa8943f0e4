import { z } from 'zod';
import { type EnginePlace, enginePlaces, readEnginesFile } from '../engines/engine-kinds.js';
import { askEngine, type EngineAnswer } from '../engines/engine-probes.js';
import { type EngineReport, engineReport, watchOfFiles } from '../engines/engine-report.js';
import type { EngineStatus } from '../engines/local-engines.js';
import type { EngineWatch } from '../engines/managed-engine.js';
import { MIRROR_MAKER_VERSION } from '../engines/mirror-maker.js';
import type { Endpoints } from '../fleet/endpoints.js';
import { deepHealthAt } from './process-health.js';
import { styled, type Terminal, table } from './terminal.js';

export interface EngineReports {
  readonly reports: readonly EngineReport[];
  /** A fleet has started them, and runs no more. */
  readonly orphaned: boolean;
}

/**
 * Every engine that was last started in the folder, by region: how the fleet that watches it sees it (or, where there is none, what its pid file
 * tells), and what it says itself. Null where none was ever started.
 */
export async function engineReports(dataDir: string, endpoints: Endpoints | null): Promise<EngineReports | null> {
  const file = readEnginesFile(dataDir);
  if (!file) return null;
  const places = enginePlaces(dataDir, file.regions);
  const watched = endpoints && file.startedBy === 'fleet' ? await watchesOf(endpoints.control.url) : null;
  const statuses: EngineStatus[] = places.map((place) => ({
    ...place,
    watch: watched?.get(place.name) ?? watchOfFiles(place),
  }));
  const reports = await Promise.all(
    statuses.map(async (status) =>
      engineReport(status, status.watch.state === 'up' ? await answerOf(status, endpoints) : null),
    ),
  );
  const order = file.regions.map(({ region }): string => region);
  reports.sort((a, b) => order.indexOf(a.region) - order.indexOf(b.region));
  return { reports, orphaned: file.startedBy === 'fleet' && watched === null };
}

async function answerOf(place: EnginePlace, endpoints: Endpoints | null): Promise<EngineAnswer | null> {
  if (place.kind !== 'mirror-maker' && place.address) return askEngine(place.kind, place.address);
  const admin = endpoints?.regions[place.region]?.admin;
  const links = admin ? (await deepHealthAt(admin)).parts.filter(({ part }) => part.startsWith('link-')) : [];
  // A link can stand still for other reasons, too (its source is away): it does not make MirrorMaker unwell.
  const detail = links.map(({ part, state, detail: text }) => `${part} ${state}${text ? ` (${text})` : ''}`).join(', ');
  return { version: MIRROR_MAKER_VERSION, well: true, detail };
}

const statusesAnswer = z.object({
  engines: z.array(
    z.object({
      name: z.string(),
      watch: z.object({
        state: z.enum(['up', 'starting', 'stopped', 'died']),
        sinceMs: z.number(),
        pid: z.number().nullable(),
        detail: z.string().nullable(),
      }),
    }),
  ),
});

const CONTROL_BUDGET_MS = 3_000;

/** Null where no fleet answers, or not as ours does: it has ended, and somebody else may listen there by now. */
async function watchesOf(control: string): Promise<ReadonlyMap<string, EngineWatch> | null> {
  try {
    const response = await fetch(`${control}/engines`, { signal: AbortSignal.timeout(CONTROL_BUDGET_MS) });
    const { engines } = statusesAnswer.parse(await response.json());
    return new Map(engines.map(({ name, watch }) => [name, watch]));
  } catch {
    return null;
  }
}

export function engineLines(terminal: Terminal, reports: readonly EngineReport[]): string[] {
  const rows = reports.map((report) => [
    report.name,
    report.version ?? '-',
    report.address ?? '-',
    report.pid === null ? '-' : String(report.pid),
    report.state,
    report.since ?? '-',
    report.detail.split('\n')[0]!,
  ]);
  const [head, ...lines] = table([['ENGINE', 'VERSION', 'ADDRESS', 'PROCESS', 'STATE', 'SINCE', 'DETAIL'], ...rows]);
  const colored = lines.map((line, i) => {
    const { state } = reports[i]!;
    return state === 'up' ? line : styled(terminal, state === 'starting' ? 'yellow' : 'red', line);
  });
  return [styled(terminal, 'dim', head!), ...colored];
}
