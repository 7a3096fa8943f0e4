import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { realClock } from '../../../global/runtime/clock.js';
import { MeridianError, messageOf } from '../../../global/runtime/errors.js';
import { compiledModule } from '../../../global/runtime/package-root.js';
import { createControlServer } from '../../fleet/control-server.js';
import { readEndpoints } from '../../fleet/endpoints.js';
import { LocalFleet, logTail } from '../../fleet/local-fleet.js';
import { lockDataDir } from '../../fleet/lock.js';
import type { ProcessState } from '../../fleet/managed-process.js';
import { createWorkload } from '../../workload/workload.js';
import type { CommandContext } from '../context.js';
import { chooseEnginePorts, endFormerEngines, openEngines } from '../engine-setup.js';
import { ExitCode } from '../exit-codes.js';
import { choosePorts, regionNames, wholeNumber } from '../fleet-options.js';
import { stateLine, timeOfDay } from '../state-lines.js';
import { styled, type Terminal, table } from '../terminal.js';

export interface FleetOptions {
  readonly engines: string;
  readonly data: string;
  readonly workload: string;
  readonly rate: string;
  readonly portOffset: string;
  readonly regions: string;
  readonly graceMs: string;
  readonly linkDelayMs: string;
}

/** `meridian fleet`: everything on this machine until Ctrl-C. */
export async function fleetCommand(context: CommandContext, options: FleetOptions): Promise<ExitCode> {
  const { terminal } = context;
  const local = options.engines === 'local';
  const workloadOn = onOff('--workload', options.workload);
  const names = regionNames(options.regions);
  if (!existsSync(compiledModule('scripts/cli/main'))) {
    throw new MeridianError('configuration', 'not compiled: run `npm run build`', 'never');
  }
  const dataDir = resolve(options.data);
  const lock = lockDataDir(dataDir, process.pid);
  try {
    if (local) await endFormerEngines(context, dataDir);
    const ports = await choosePorts(options.portOffset, names);
    const regions = names.map((region, i) => ({ region, ports: ports[i]! }));
    const onState = (name: string, state: ProcessState) => terminal.out(stateLine(terminal, name, state));
    let fleet: LocalFleet | undefined;
    const engines = local
      ? await openEngines(context, {
          dataDir,
          regions: await chooseEnginePorts(options.portOffset, regions),
          onState: (name, state) => {
            onState(name, state);
            if (state.state === 'up') fleet?.engineIsUp();
          },
        })
      : undefined;
    const control = createControlServer({
      startRegion: async (region) => fleet?.startRegion(region),
      stopRegion: async (region, kill) => fleet?.stopRegion(region, kill),
      actOnEngine: async (name, action) => fleet?.actOnEngine(name, action),
      engines: () => fleet?.engines() ?? [],
    });
    await control.start();
    const environment = { ...context.environment, NODE_OPTIONS: undefined };
    fleet = new LocalFleet({
      dataDir,
      regions,
      environment: environment as NodeJS.ProcessEnv,
      clock: realClock,
      control: { url: `http://127.0.0.1:${control.address.port}`, pid: process.pid },
      regionOptions: { linkDelayMs: wholeNumber('--link-delay-ms', options.linkDelayMs) },
      routerOptions: { graceMs: wholeNumber('--grace-ms', options.graceMs) },
      engines,
      onState,
    });
    const workload = createWorkload({
      regions: regions.map(({ region, ports: p }) => ({ region, otlpHttp: `http://127.0.0.1:${p.otlpHttp}` })),
      requestsPerSecond: wholeNumber('--rate', options.rate),
      onExit: (service) => terminal.out(`${timeOfDay()} workload: service ${service} ended`),
    });
    terminal.out(`starting ${names.length} regions in ${dataDir}`);
    try {
      await Promise.race([fleet.start(), interrupted(context.stop)]);
    } catch (error) {
      await fleet.stop();
      await control.stop();
      if (context.stop.aborted) throw error;
      throw startFailure(error, dataDir, names);
    }
    for (const line of endpointLines(terminal, dataDir)) terminal.out(line);
    if (workloadOn) {
      await workload.start();
      terminal.out(`${timeOfDay()} workload: 6 services in ${names.length} regions, ${options.rate} requests/s`);
      terminal.out('try:  npx meridian search   npx meridian trace ID   npx meridian status   (Ctrl-C stops)');
    }
    await stopped(context.stop);
    terminal.out(`${timeOfDay()} draining`);
    if (workloadOn) await workload.stop();
    await fleet.stop();
    await control.stop();
    terminal.out(`${timeOfDay()} stopped; data stay in ${dataDir}`);
    return ExitCode.done;
  } finally {
    lock.release();
  }
}

function stopped(signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    if (signal.aborted) done();
    else signal.addEventListener('abort', () => done(), { once: true });
  });
}

function onOff(option: string, text: string): boolean {
  if (text !== 'on' && text !== 'off')
    throw new MeridianError('invalid', `${option}: "${text}" is neither on nor off`, 'never');
  return text === 'on';
}

/** Rejects when somebody no longer wants to wait for the start. */
async function interrupted(signal: AbortSignal): Promise<never> {
  await stopped(signal);
  throw new MeridianError('shutting-down', 'interrupted before the fleet was up; everything is stopped', 'never');
}

function startFailure(error: unknown, dataDir: string, names: readonly string[]): MeridianError {
  const tails = names.flatMap((region) =>
    ['region', 'router'].map((role) => [`${region}/${role}.log`, logTail(dataDir, region, role, 3)] as const),
  );
  const shown = tails
    .filter(([, tail]) => tail)
    .map(([file, tail]) => `  ${file}:\n    ${tail.replaceAll('\n', '\n    ')}`);
  return new MeridianError(
    'unavailable',
    `the fleet did not start: ${messageOf(error)}\n${shown.join('\n')}`,
    'later',
    { cause: error },
  );
}

function endpointLines(terminal: Terminal, dataDir: string): string[] {
  const endpoints = readEndpoints(dataDir);
  const rows = Object.entries(endpoints.regions).map(([region, at]) => [
    region,
    endpoints.routers[region]!.http,
    at.otlpHttp,
    at.otlpGrpc,
    at.zipkin,
    at.jaegerThrift,
    at.admin,
  ]);
  const [head, ...lines] = table([
    ['REGION', 'ROUTER', 'OTLP HTTP', 'OTLP GRPC', 'ZIPKIN', 'JAEGER THRIFT', 'HEALTH'],
    ...rows,
  ]);
  return [styled(terminal, 'dim', head!), ...lines];
}
