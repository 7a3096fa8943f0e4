import { resolve } from 'node:path';
import { realClock } from '../../../global/runtime/clock.js';
import { MeridianError } from '../../../global/runtime/errors.js';
import { readEnginesFile, removeEnginesFile } from '../../engines/engine-kinds.js';
import { type EngineAction, runningEngines, stopRunningEngines } from '../../engines/local-engines.js';
import { lockDataDir } from '../../fleet/lock.js';
import type { CommandContext } from '../context.js';
import { endpointsIfAny } from '../context.js';
import { engineLines, engineReports } from '../engine-reports.js';
import { chooseEnginePorts, endFormerEngines, openEngines } from '../engine-setup.js';
import { ExitCode } from '../exit-codes.js';
import { regionNames } from '../fleet-options.js';
import { stateLine, timeOfDay } from '../state-lines.js';
import { askFleet } from './control.js';

export interface EnginesUpOptions {
  readonly data: string;
  readonly regions: string;
  readonly portOffset: string;
}

/** `meridian engines up`: starts the engines alone and leaves them running. One that dies is not started again: nobody watches. */
export async function enginesUpCommand(context: CommandContext, options: EnginesUpOptions): Promise<ExitCode> {
  const { terminal, stop } = context;
  const dataDir = resolve(options.data);
  const names = regionNames(options.regions);
  const lock = lockDataDir(dataDir, process.pid);
  try {
    await endFormerEngines(context, dataDir);
    const engines = await openEngines(context, {
      dataDir,
      regions: await chooseEnginePorts(
        options.portOffset,
        names.map((region) => ({ region })),
      ),
      onState: (name, state) => terminal.out(stateLine(terminal, name, state)),
      outlives: true,
    });
    const interrupt = () => void engines.stop();
    stop.addEventListener('abort', interrupt, { once: true });
    try {
      if (!stop.aborted) await engines.startStores();
      if (!stop.aborted) await engines.startMirrors();
    } catch (error) {
      await engines.stop();
      throw error;
    }
    if (stop.aborted) {
      await engines.stop();
      throw new MeridianError(
        'unavailable',
        'engines up: interrupted; everything that it had started is stopped',
        'never',
      );
    }
    engines.leaveRunning();
  } finally {
    lock.release();
  }
  const reports = (await engineReports(dataDir, null))?.reports ?? [];
  for (const line of engineLines(terminal, reports)) terminal.out(line);
  terminal.out(`they go on by themselves: \`meridian engines down --data ${options.data}\` ends them; data stay`);
  return reports.every(({ state }) => state === 'up') ? ExitCode.done : ExitCode.partial;
}

/** `meridian engines status`. Exit code 3 where one is not up. */
export async function enginesStatusCommand(
  { terminal }: CommandContext,
  options: { readonly data: string; readonly json?: boolean },
): Promise<ExitCode> {
  const found = await engineReports(resolve(options.data), endpointsIfAny(options));
  if (!found) throw noEngines(options.data);
  const { reports, orphaned } = found;
  const lines = options.json ? [JSON.stringify({ engines: reports })] : engineLines(terminal, reports);
  for (const line of lines) terminal.out(line);
  if (orphaned) terminal.note(`the fleet that started them in ${options.data} does not run`);
  return reports.every(({ state }) => state === 'up') ? ExitCode.done : ExitCode.partial;
}

/** `meridian engines down`: ends what `engines up` left running, or a killed fleet. Refused while a fleet runs in the folder. */
export async function enginesDownCommand(
  { terminal }: CommandContext,
  options: { readonly data: string },
): Promise<ExitCode> {
  const dataDir = resolve(options.data);
  if (!readEnginesFile(dataDir)) throw noEngines(options.data);
  let lock: { release(): void };
  try {
    lock = lockDataDir(dataDir, process.pid);
  } catch (error) {
    const how = 'They end with it (Ctrl-C), or with `meridian stop REGION`';
    const why = error instanceof MeridianError ? error.message : String(error);
    throw new MeridianError('refused', `engines down: they belong to a fleet: ${why}. ${how}`, 'never', {
      cause: error,
    });
  }
  try {
    const before = runningEngines(dataDir).length;
    await stopRunningEngines(dataDir, realClock, (name, pid) =>
      terminal.out(`${timeOfDay()} ${name} stopped (process ${pid})`),
    );
    removeEnginesFile(dataDir);
    terminal.out(before === 0 ? 'none was running' : `${before} engines stopped; data stay in ${dataDir}`);
    return ExitCode.done;
  } finally {
    lock.release();
  }
}

const DONE: Readonly<Record<EngineAction, string>> = {
  start: 'is up',
  stop: 'is stopped',
  kill: 'was killed; the fleet starts it again',
};

/** `meridian engines stop|start|kill NAME`: faults to try out, told to the running fleet. */
export async function enginesActCommand(
  { terminal }: CommandContext,
  action: EngineAction,
  name: string,
  options: { readonly data: string },
): Promise<ExitCode> {
  const parts = name.split('/');
  if (parts.length !== 2) {
    throw new MeridianError('invalid', `"${name}" is no engine: REGION/ENGINE, e.g. us-east-1/elasticsearch`, 'never');
  }
  await askFleet(options.data, `engines/${parts.map(encodeURIComponent).join('/')}/${action}`, `${action} ${name}`);
  terminal.out(`${name} ${DONE[action]}`);
  return ExitCode.done;
}

function noEngines(data: string): MeridianError {
  return new MeridianError(
    'not-found',
    `no engines were started in ${data}. Start them with \`meridian engines up\` or \`meridian fleet --engines local\`, or name their folder with --data`,
    'never',
  );
}
