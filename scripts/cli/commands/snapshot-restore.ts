import { MeridianError, messageOf } from '../../../global/runtime/errors.js';
import type { RestorePlan, RestoreStatus, SnapshotStatus } from '../../../regions/store/snapshot-service.js';
import { adminOf, askAdmin, withWhoToStop } from '../admin-client.js';
import type { CommandContext } from '../context.js';
import { ExitCode } from '../exit-codes.js';
import { formatAge, progressBar, type Terminal, table } from '../terminal.js';
import { listing } from './snapshot.js';

export interface SnapshotRestoreOptions {
  readonly data: string;
  readonly region: string;
  /** RFC 3339 or Unix time; left out: now, i.e. all that the log has. */
  readonly to?: string;
  /** Left out: the newest before that time. */
  readonly name?: string;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly json?: boolean;
}

const POLL_MS = 250;
/** A region that died while it restored is back by then, and says that it was interrupted. */
const SILENCE_MS_MAX = 30_000;

/**
 * `meridian snapshot restore`: says what it would do; does it once that is confirmed (on a terminal, or by `--yes`), and waits until it is done.
 * Exit code 4 where nobody confirmed it.
 */
export async function snapshotRestoreCommand(
  context: CommandContext,
  options: SnapshotRestoreOptions,
): Promise<ExitCode> {
  const { terminal } = context;
  const { region, dryRun, yes, json } = options;
  const admin = adminOf(options);
  const path = `${admin}/control/snapshots/restore`;
  const plan = await askAdmin<RestorePlan>(`${path}?${queryOf(options.to, options.name)}`, 'GET');
  const tell = json ? terminal.note : terminal.out;
  for (const line of planLines(region, plan, Date.now())) tell(line);
  if (dryRun) {
    if (json) terminal.out(JSON.stringify(plan));
    return ExitCode.done;
  }
  if (!yes) await confirmed(terminal, region);
  // Exactly what was shown: a newer snapshot may be there by now.
  const exactly = queryOf(plan.toMs === null ? undefined : String(plan.toMs), plan.snapshot.name);
  await askAdmin(`${path}?${exactly}`, 'POST').catch((error: unknown) => {
    throw withWhoToStop(error, { what: 'restore', region, admin });
  });
  const done = await followed(context, { region, admin, plan });
  if (!done) {
    terminal.note(`the region goes on restoring; \`${listing(region)}\` tells how it stands`);
    return ExitCode.failed;
  }
  if (json) terminal.out(JSON.stringify(done));
  else terminal.out(`store of ${region} restored to ${timeText(plan.toMs)}: ${countsOf(done)}`);
  if (plan.toMs !== null) terminal.note(`what came later is left out; ${bringingIn(region, plan.toMs)}`);
  return ExitCode.done;
}

function queryOf(to: string | undefined, name: string | undefined): URLSearchParams {
  return new URLSearchParams({ ...(to === undefined ? {} : { to }), ...(name === undefined ? {} : { name }) });
}

function planLines(region: string, { snapshot, toMs, replay }: RestorePlan, nowMs: number): string[] {
  const count = recordsOf(replay);
  const left = replay.reduce((sum, { to, end }) => sum + (end - to), 0);
  const topics = [...new Set(replay.map(({ topic }) => topic))].join(', ');
  const rows = replay
    .filter(({ from, to }) => to > from)
    .map(({ topic, partition, from, to }) => [`            ${topic}/${partition}`, `${from} to ${to - 1}`]);
  return [
    `restore the store of ${region} to ${timeText(toMs)}`,
    `  snapshot  ${snapshot.name}, taken ${new Date(snapshot.takenMs).toISOString()} (${formatAge(nowMs - snapshot.takenMs)} ago)`,
    `  then      ${count} records of the log (${topics}) that came after it${toMs === null ? '' : ' and until then'}`,
    ...table(rows),
    ...(left > 0
      ? [`  left out  ${left} records that came later; ${bringingIn(region, toMs ?? snapshot.takenMs)}`]
      : []),
    '  meanwhile the store is incomplete and answers miss spans; collecting goes on',
  ];
}

function bringingIn(region: string, fromMs: number): string {
  const from = new Date(fromMs).toISOString();
  return `\`meridian replay --region ${region} --view store --from ${from}\` brings it in`;
}

function recordsOf(replay: RestorePlan['replay']): number {
  return replay.reduce((sum, { from, to }) => sum + (to - from), 0);
}

function timeText(toMs: number | null): string {
  return toMs === null ? 'now' : new Date(toMs).toISOString();
}

/** Throws `refused` where nobody is there to say yes, or says no. */
async function confirmed(terminal: Terminal, region: string): Promise<void> {
  if (!terminal.ask) {
    const message = `restore: nothing was touched: what the store of ${region} holds now is replaced. Add --yes, or look first with --dry-run`;
    throw new MeridianError('refused', message, 'never');
  }
  const answer = await terminal.ask(`what the store of ${region} holds now is replaced. Go on? [y/N] `);
  if (/^y(es)?$/i.test(answer.trim())) return;
  throw new MeridianError('refused', 'restore: nothing was touched', 'never');
}

/** Tells how it goes until it has ended; null where somebody no longer wants to wait. Throws `unavailable` where it failed. */
async function followed(
  { terminal, stop }: CommandContext,
  { region, admin, plan }: { readonly region: string; readonly admin: string; readonly plan: RestorePlan },
): Promise<RestoreStatus | null> {
  const total = recordsOf(plan.replay);
  const startMs = Date.now();
  let heardMs = startMs;
  let silence = 'it knows of no restore: its process ended meanwhile';
  while (!stop.aborted) {
    const restore = await restoreAt(admin).catch((error: unknown) => {
      silence = messageOf(error);
      return null;
    });
    if (restore) {
      heardMs = Date.now();
      if (restore.stage === 'failed') throw interruptedBy(region, restore.error ?? 'it does not say why');
      terminal.progress(progressOf(restore, total, heardMs - startMs));
      if (restore.stage === 'done') {
        terminal.progress('');
        return restore;
      }
    } else if (Date.now() - heardMs > SILENCE_MS_MAX) throw interruptedBy(region, silence);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  terminal.progress('');
  return null;
}

async function restoreAt(admin: string): Promise<RestoreStatus | null> {
  return (await askAdmin<SnapshotStatus>(`${admin}/control/snapshots`, 'GET')).restore;
}

function progressOf({ stage, snapshot, blocks, unreadable }: RestoreStatus, total: number, tookMs: number): string {
  const took = formatAge(tookMs);
  if (stage === 'copying') return `copying ${snapshot} back ... ${took}`;
  const done = blocks + unreadable;
  return `${progressBar(total === 0 ? 1 : done / total)} ${done}/${total} records of the log ... ${took}`;
}

function countsOf({ snapshot, blocks, unreadable }: RestoreStatus): string {
  const odd = unreadable > 0 ? `; ${unreadable} records were no blocks and were passed over` : '';
  return `${snapshot}, and ${blocks} blocks of the log after it${odd}`;
}

function interruptedBy(region: string, why: string): MeridianError {
  return new MeridianError(
    'unavailable',
    `restore in ${region}: ${why}. The store is incomplete until a restore succeeds: run it again once that is mended (\`meridian doctor\`); repeating is safe`,
    'later',
  );
}
