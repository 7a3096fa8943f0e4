import { messageOf } from '../../../global/runtime/errors.js';
import type { SnapshotRecord } from '../../../regions/store/snapshot-record.js';
import type { SnapshotStatus } from '../../../regions/store/snapshot-service.js';
import { adminOf, askAdmin } from '../admin-client.js';
import { type CommandContext, endpointsOf } from '../context.js';
import { ExitCode } from '../exit-codes.js';
import { formatAge, printable, styled, type Terminal, table } from '../terminal.js';

export interface SnapshotCreateOptions {
  readonly data: string;
  readonly region: string;
  readonly json?: boolean;
}

export interface SnapshotListOptions {
  readonly data: string;
  /** Default: every region of the fleet. */
  readonly region?: string;
  readonly json?: boolean;
}

const TICK_MS = 1000;

/** `meridian snapshot create`: copies a region's store, and waits until it is done. Ctrl-C leaves it to the region. */
export async function snapshotCreateCommand(
  { terminal, stop }: CommandContext,
  options: SnapshotCreateOptions,
): Promise<ExitCode> {
  const admin = adminOf(options);
  const startMs = Date.now();
  const tick = () =>
    terminal.progress(`taking a snapshot of the store of ${options.region} ... ${formatAge(Date.now() - startMs)}`);
  tick();
  const ticking = setInterval(tick, TICK_MS);
  try {
    const taken = await Promise.race([
      askAdmin<SnapshotRecord>(`${admin}/control/snapshots`, 'POST'),
      aborted(stop).then(() => null),
    ]);
    terminal.progress('');
    if (taken === null) {
      terminal.note(`the region goes on with it; \`${listing(options.region)}\` shows it when it is done`);
      return ExitCode.failed;
    }
    terminal.out(
      options.json
        ? JSON.stringify(taken)
        : `${taken.name}: snapshot of the store of ${options.region}, taken in ${formatAge(Date.now() - startMs)}`,
    );
    return ExitCode.done;
  } finally {
    clearInterval(ticking);
  }
}

/** `meridian snapshot list`: what there is to restore from, and how the last restore went. Exit code 3 where a region does not answer. */
export async function snapshotListCommand(
  { terminal }: CommandContext,
  options: SnapshotListOptions,
): Promise<ExitCode> {
  const regions = options.region ? [options.region] : Object.keys(endpointsOf(options).regions);
  const answers = await Promise.all(
    regions.map(async (region) => {
      const admin = adminOf({ data: options.data, region });
      try {
        return { region, status: await askAdmin<SnapshotStatus>(`${admin}/control/snapshots`, 'GET') };
      } catch (error) {
        if (options.region) throw error;
        return { region, error: messageOf(error) };
      }
    }),
  );
  const told = answers.map((answer) =>
    'status' in answer
      ? ([answer.region, answer.status] as const)
      : ([answer.region, { error: answer.error }] as const),
  );
  if (options.json) terminal.out(JSON.stringify(Object.fromEntries(told)));
  else for (const line of listLines(terminal, told)) terminal.out(line);
  return told.some(([, answer]) => 'error' in answer) ? ExitCode.partial : ExitCode.done;
}

function listLines(
  terminal: Terminal,
  told: readonly (readonly [region: string, answer: SnapshotStatus | { readonly error: string }])[],
): string[] {
  const nowMs = Date.now();
  const rows: string[][] = [];
  const remarks: string[] = [];
  for (const [region, answer] of told) {
    if ('error' in answer) {
      remarks.push(styled(terminal, 'red', `${region}: ${answer.error}`));
      continue;
    }
    const { snapshots, lastFailure, restore } = answer;
    for (const { name, kind, takenMs } of snapshots) {
      rows.push([region, name, kind, new Date(takenMs).toISOString(), `${formatAge(nowMs - takenMs)} ago`]);
    }
    if (snapshots.length === 0) {
      remarks.push(`${region}: no snapshots; \`meridian snapshot create --region ${region}\` takes one`);
    }
    if (lastFailure) {
      const { atMs, what, error } = lastFailure;
      const line = `${region}: ${what} failed ${formatAge(nowMs - atMs)} ago: ${error}`;
      remarks.push(styled(terminal, 'yellow', printable(line)));
    }
    if (restore && restore.stage !== 'done') {
      const { snapshot, stage, blocks, error } = restore;
      const how = stage === 'failed' ? `failed: ${error}` : `${stage}, ${blocks} blocks of the log written`;
      remarks.push(
        styled(terminal, 'red', printable(`${region}: restore of ${snapshot} ${how}; the store is incomplete`)),
      );
    }
  }
  if (rows.length === 0) return remarks;
  const [head, ...lines] = table([['REGION', 'NAME', 'KIND', 'TAKEN', 'AGE'], ...rows]);
  return [styled(terminal, 'dim', head!), ...lines, ...remarks];
}

/** The command that shows how snapshots and restores of a region stand. */
export function listing(region: string): string {
  return `meridian snapshot list --region ${region}`;
}

/** Resolves when somebody no longer wants to wait. */
export function aborted(stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (stop.aborted) resolve();
    else stop.addEventListener('abort', () => resolve(), { once: true });
  });
}
