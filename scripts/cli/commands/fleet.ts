import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseRegionId, type RegionId } from '../../../global/model/ids.js';
import { realClock } from '../../../global/runtime/clock.js';
import { MeridianError, messageOf } from '../../../global/runtime/errors.js';
import { compiledModule } from '../../../global/runtime/package-root.js';
import { createControlServer } from '../../fleet/control-server.js';
import { readEndpoints } from '../../fleet/endpoints.js';
import { LocalFleet, logTail } from '../../fleet/local-fleet.js';
import { lockDataDir } from '../../fleet/lock.js';
import type { ProcessState } from '../../fleet/managed-process.js';
import { checkPortsFree, fixedPorts, freePorts, REGIONS_MAX } from '../../fleet/ports.js';
import { createWorkload } from '../../workload/workload.js';
import type { CommandContext } from '../context.js';
import { ExitCode } from '../exit-codes.js';
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
  if (options.engines !== 'embedded') {
    throw new MeridianError('configuration', `--engines ${options.engines}: this build has "embedded" only`, 'never');
  }
  const workloadOn = onOff('--workload', options.workload);
  const names = regionNames(options.regions);
  if (!existsSync(compiledModule('scripts/cli/main'))) {
    throw new MeridianError('configuration', 'not compiled: run `npm run build`', 'never');
  }
  const dataDir = resolve(options.data);
  const lock = lockDataDir(dataDir, process.pid);
  try {
    const ports = await portsOf(options.portOffset, names);
    const regions = names.map((region, i) => ({ region, ports: ports[i]! }));
    let fleet: LocalFleet | undefined;
    const control = createControlServer({
      startRegion: async (region) => fleet?.startRegion(region),
      stopRegion: async (region, kill) => fleet?.stopRegion(region, kill),
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
      onState: (name, state) => terminal.out(stateLine(terminal, name, state)),
    });
    const workload = createWorkload({
      regions: regions.map(({ region, ports: p }) => ({ region, otlpHttp: `http://127.0.0.1:${p.otlpHttp}` })),
      requestsPerSecond: wholeNumber('--rate', options.rate),
      onExit: (service) => terminal.out(`${time()} workload: service ${service} ended`),
    });
    terminal.out(`starting ${names.length} regions in ${dataDir}`);
    try {
      await fleet.start();
    } catch (error) {
      await fleet.stop();
      await control.stop();
      throw startFailure(error, dataDir, names);
    }
    for (const line of endpointLines(terminal, dataDir)) terminal.out(line);
    if (workloadOn) {
      await workload.start();
      terminal.out(`${time()} workload: 6 services in ${names.length} regions, ${options.rate} requests/s`);
      terminal.out('try:  npx meridian search   npx meridian trace ID   npx meridian status   (Ctrl-C stops)');
    }
    await stopped(context.stop);
    terminal.out(`${time()} draining`);
    if (workloadOn) await workload.stop();
    await fleet.stop();
    await control.stop();
    terminal.out(`${time()} stopped; data stay in ${dataDir}`);
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

async function portsOf(offset: string, names: readonly RegionId[]) {
  if (offset === 'auto') return freePorts(names.length, Math.random);
  const ports = names.map((_, i) => fixedPorts(i, wholeNumber('--port-offset', offset)));
  await checkPortsFree(names.map((region, i) => ({ region, ports: ports[i]! })));
  return ports;
}

function regionNames(list: string): RegionId[] {
  const names = list.split(',').map((name) => name.trim());
  const regions = names.map((name) => {
    const region = parseRegionId(name);
    if (!region) throw new MeridianError('invalid', `--regions: "${name}" is no region name`, 'never');
    return region;
  });
  if (new Set(regions).size !== regions.length)
    throw new MeridianError('invalid', `--regions ${list}: a region is named twice`, 'never');
  if (regions.length > REGIONS_MAX)
    throw new MeridianError('invalid', `--regions: at most ${REGIONS_MAX} on one machine`, 'never');
  return regions;
}

function wholeNumber(option: string, text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new MeridianError('invalid', `${option}: "${text}" is no whole number`, 'never');
  return Number(text);
}

function onOff(option: string, text: string): boolean {
  if (text !== 'on' && text !== 'off')
    throw new MeridianError('invalid', `${option}: "${text}" is neither on nor off`, 'never');
  return text === 'on';
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

function stateLine(terminal: Terminal, name: string, state: ProcessState): string {
  switch (state.state) {
    case 'up':
      return `${time()} ${name} ${styled(terminal, 'green', 'up')} (process ${state.pid}, after ${(state.afterMs / 1000).toFixed(1)} s)`;
    case 'stopped':
      return `${time()} ${name} ${styled(terminal, 'yellow', 'stopped')}`;
    case 'died':
      return `${time()} ${name} ${styled(terminal, 'red', 'died')} (${state.how}), restarting in ${state.restartInMs} ms`;
    case 'failed':
      return `${time()} ${name} ${styled(terminal, 'red', 'failed')}: ${state.message}`;
  }
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

function time(): string {
  return new Date().toTimeString().slice(0, 8);
}
