import { MeridianError, messageOf } from '../../../global/runtime/errors.js';
import { adminOf, askAdmin, withWhoToStop } from '../admin-client.js';
import { type CommandContext, endpointsOf } from '../context.js';
import { ExitCode } from '../exit-codes.js';
import { progressBar, table } from '../terminal.js';

const POLL_MS = 200;

interface ReplayProgress {
  readonly done: boolean;
  readonly recordsDone: number;
  readonly recordsTotal: number;
  readonly error?: string;
}

/** `meridian replay`: rewinds a consumer group of a region and waits until it has caught up again. */
export async function replayCommand(
  context: CommandContext,
  options: { data: string; region: string; view: string; from: string },
): Promise<ExitCode> {
  const { terminal } = context;
  const admin = adminOf(options);
  const query = new URLSearchParams({ view: options.view, from: options.from });
  await askAdmin(`${admin}/control/replay?${query}`, 'POST').catch((error: unknown) => {
    throw withWhoToStop(error, { what: 'replay', region: options.region, admin });
  });
  for (;;) {
    const progress = await askAdmin<ReplayProgress>(`${admin}/control/replay`, 'GET');
    const share = progress.recordsTotal === 0 ? 1 : progress.recordsDone / progress.recordsTotal;
    terminal.progress(
      `${progressBar(share)} ${progress.recordsDone}/${progress.recordsTotal} records of ${options.view}`,
    );
    if (progress.error)
      throw new MeridianError(
        'unavailable',
        `replay of ${options.view} in ${options.region}: ${progress.error}`,
        'later',
      );
    if (progress.done) break;
    if (context.stop.aborted) {
      terminal.note('the replay goes on in the region');
      return ExitCode.done;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  terminal.progress('');
  terminal.out(`${options.view} of ${options.region} rebuilt from ${options.from}`);
  return ExitCode.done;
}

interface ReconcileAnswer {
  readonly peers: readonly {
    readonly peer: string;
    readonly bucketsCompared: number;
    readonly bucketsDiffering: number;
    readonly recordsJoined: number;
    readonly error: string | null;
  }[];
}

/** `meridian reconcile`: every region compares its index with every other's and takes what it lacks. */
export async function reconcileCommand(
  context: CommandContext,
  options: { data: string; region?: string; json?: boolean },
): Promise<ExitCode> {
  const { regions } = endpointsOf(options);
  const rows: string[][] = [];
  const answers: Record<string, ReconcileAnswer> = {};
  let failed = false;
  for (const [region, { admin }] of Object.entries(regions)) {
    if (options.region && options.region !== region) continue;
    context.terminal.progress(`comparing the index of ${region} ...`);
    try {
      const answer = await askAdmin<ReconcileAnswer>(`${admin}/control/reconcile`, 'POST');
      answers[region] = answer;
      for (const peer of answer.peers) {
        failed ||= peer.error !== null;
        rows.push([
          region,
          peer.peer,
          `${peer.bucketsCompared}`,
          `${peer.bucketsDiffering}`,
          `${peer.recordsJoined}`,
          peer.error ?? 'done',
        ]);
      }
    } catch (error) {
      failed = true;
      rows.push([region, '-', '-', '-', '-', messageOf(error)]);
    }
  }
  context.terminal.progress('');
  const lines = options.json
    ? [JSON.stringify(answers)]
    : table([['REGION', 'PEER', 'COMPARED', 'DIFFERING', 'RECORDS TAKEN', 'RESULT'], ...rows]);
  for (const line of lines) context.terminal.out(line);
  return failed ? ExitCode.partial : ExitCode.done;
}
