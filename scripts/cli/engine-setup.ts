import type { RegionId } from '../../global/model/ids.js';
import { realClock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { type RegionEngines, readEnginesFile } from '../engines/engine-kinds.js';
import { LocalEngines, runningEngines, stopRunningEngines } from '../engines/local-engines.js';
import { enginesCache } from '../engines/maven-jars.js';
import type { ProcessState } from '../fleet/managed-process.js';
import { checkPortsFree, fixedEnginePorts, freeEnginePortsOfRegions, type RegionPorts } from '../fleet/ports.js';
import type { CommandContext } from './context.js';
import { wholeNumber } from './fleet-options.js';
import { timeOfDay } from './state-lines.js';

/** The engines' ports of `--port-offset N|auto`, beside those that the regions' own listeners will take. */
export async function chooseEnginePorts(
  offset: string,
  regions: readonly { readonly region: RegionId; readonly ports?: RegionPorts }[],
): Promise<RegionEngines[]> {
  if (offset === 'auto') {
    const spoken = regions.flatMap(({ ports }) => (ports ? [ports] : []));
    const ports = await freeEnginePortsOfRegions(regions.length, Math.random, spoken);
    return regions.map(({ region }, i) => ({ region, ports: ports[i]! }));
  }
  const chosen = regions.map(({ region }, i) => ({
    region,
    ports: fixedEnginePorts(i, wholeNumber('--port-offset', offset)),
  }));
  await checkPortsFree(chosen);
  return chosen;
}

/**
 * Ends engines that a killed fleet has left in the folder and that have not ended yet by themselves. Throws `configuration` where `engines up` has
 * left some running: those are somebody's.
 */
export async function endFormerEngines({ terminal }: CommandContext, dataDir: string): Promise<void> {
  const running = runningEngines(dataDir);
  if (running.length === 0) return;
  if (readEnginesFile(dataDir)?.startedBy === 'up') {
    throw new MeridianError(
      'configuration',
      `engines are up in ${dataDir} already (${running.map(({ name }) => name).join(', ')}). ` +
        `Stop them with \`meridian engines down --data ${dataDir}\`, or choose another folder with --data`,
      'never',
    );
  }
  await stopRunningEngines(dataDir, realClock, (name, pid) =>
    terminal.out(`${timeOfDay()} ${name} ended (process ${pid}): a fleet that was killed had left it`),
  );
}

/** Engines that are ready to start; what is fetched for them is told line by line. Throws `configuration` where this machine lacks something. */
export async function openEngines(
  { terminal, environment }: CommandContext,
  options: {
    readonly dataDir: string;
    readonly regions: readonly RegionEngines[];
    readonly onState: (name: string, state: ProcessState) => void;
    readonly outlives?: boolean;
  },
): Promise<LocalEngines> {
  const engines = new LocalEngines({
    ...options,
    cacheFolder: enginesCache(environment),
    clock: realClock,
    onProgress: (line) => terminal.note(`${timeOfDay()} ${line}`),
  });
  await engines.prepare();
  return engines;
}
