import { type ChildProcess, fork } from 'node:child_process';
import { request } from 'node:http';
import type { RegionId } from '../../global/model/ids.js';
import { compiledModule } from '../../global/runtime/package-root.js';
import type { Service } from '../../global/runtime/service.js';
import { ENTRY_POINTS, regionOf, WORKLOAD } from './services.js';

export interface WorkloadOptions {
  /** In the order of the fleet. */
  readonly regions: readonly { readonly region: RegionId; readonly otlpHttp: string }[];
  readonly requestsPerSecond: number;
  /** Called when a service process ends that should not have. */
  readonly onExit: (service: string) => void;
}

/** The sample services as processes of their own, and a driver that sends the gateway a steady stream of requests. */
export function createWorkload(options: WorkloadOptions): Service {
  const children = new Map<string, ChildProcess>();
  let timer: NodeJS.Timeout | undefined;
  let stopping = false;

  async function startService(index: number): Promise<[string, number]> {
    const service = WORKLOAD[index]!;
    const region = regionOf(
      service,
      options.regions.map((r) => r.region),
    );
    const { otlpHttp } = options.regions.find((r) => r.region === region)!;
    const child = fork(compiledModule('scripts/workload/service-main'), {
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    children.set(service.name, child);
    child.on('exit', () => {
      if (!stopping) options.onExit(service.name);
    });
    child.send({ service, region, otlpHttp });
    const port = await new Promise<number>((resolve, reject) => {
      child.once('message', (message) => resolve((message as { port: number }).port));
      child.once('exit', (code) =>
        reject(new Error(`workload service ${service.name} ended with ${code} while starting`)),
      );
    });
    return [service.name, port];
  }

  return {
    start: async () => {
      const ports = Object.fromEntries(await Promise.all(WORKLOAD.map((_, index) => startService(index))));
      for (const child of children.values()) child.send({ ports });
      const gateway = ports.gateway as number;
      timer = setInterval(() => drive(gateway), 1000 / options.requestsPerSecond);
    },
    stop: async () => {
      stopping = true;
      clearInterval(timer);
      await Promise.all(
        [...children.values()].map(async (child) => {
          if (child.exitCode !== null || child.signalCode !== null) return;
          const ended = new Promise((resolve) => child.once('exit', resolve));
          child.kill('SIGTERM');
          await ended;
        }),
      );
    },
  };
}

function drive(gatewayPort: number): void {
  const total = ENTRY_POINTS.reduce((sum, { weight }) => sum + weight, 0);
  const pick = Math.random() * total;
  let sum = 0;
  const entry = ENTRY_POINTS.find(({ weight }) => {
    sum += weight;
    return pick < sum;
  })!;
  const call = request({
    host: '127.0.0.1',
    port: gatewayPort,
    path: entry.path,
    method: entry.method.toUpperCase(),
    timeout: 10_000,
  });
  call.on('response', (response) => response.resume());
  call.on('timeout', () => call.destroy());
  // A request that fails is part of a workload; what it means shows in its trace.
  call.on('error', () => {});
  call.end();
}
