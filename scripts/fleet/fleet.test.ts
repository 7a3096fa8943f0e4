import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readEndpoints, writeEndpoints } from './endpoints.js';
import { lockDataDir } from './lock.js';
import {
  checkPortsFree,
  fixedEnginePorts,
  fixedPorts,
  freeEnginePortsOfRegions,
  freePorts,
  type RegionPorts,
} from './ports.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'meridian-fleet-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('ports', () => {
  test('are the promised ones', () => {
    expect(fixedPorts(0, 0)).toEqual({
      otlpGrpc: 4317,
      otlpHttp: 4318,
      zipkin: 9411,
      jaegerThrift: 14268,
      regionApi: 7001,
      admin: 7002,
      routerHttp: 16686,
    });
    expect(fixedPorts(2, 5)).toMatchObject({ otlpHttp: 24323, routerHttp: 36691 });
  });

  test('of engines are the promised ones, and no listener of five regions meets another', () => {
    expect(fixedEnginePorts(0, 0)).toEqual({ kafka: 9092, kafkaController: 9093, elasticsearch: 9200, redis: 6379 });
    expect(fixedEnginePorts(2, 5)).toMatchObject({ kafka: 29_097, redis: 26_384 });
    const all = [0, 1, 2, 3, 4].flatMap((i) => [
      ...Object.values(fixedPorts(i, 0)),
      ...Object.values(fixedEnginePorts(i, 0)),
    ]);
    expect(new Set(all).size).toBe(all.length);
  });

  test('one past the last is refused', () => {
    expect(fixedPorts(4, 8849).routerHttp).toBe(65_535);
    expect(() => fixedPorts(4, 8850)).toThrow(/routerHttp would be port 65536/);
  });

  test('a taken one is named with its listener and the option', async () => {
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
    const { port } = holder.address() as AddressInfo;
    const [free] = (await freePorts(1, Math.random)) as [RegionPorts];
    const taken = checkPortsFree([{ region: 'us-east-1', ports: { ...free, zipkin: port } }]);
    await expect(taken).rejects.toThrow(new RegExp(`port ${port} \\(Zipkin of us-east-1\\) is taken.*--port-offset`));
    await new Promise((resolve) => holder.close(resolve));
  });

  test('free ports differ from one another', async () => {
    const regions = await freePorts(3, Math.random);
    expect(new Set(regions.flatMap((ports) => Object.values(ports))).size).toBe(21);
    await checkPortsFree(regions.map((ports, i) => ({ region: `r${i}`, ports })));
    // The same start of the search: what the regions were given is passed over, though nobody listens there yet.
    const engines = await freeEnginePortsOfRegions(3, () => 0, await freePorts(3, () => 0));
    const both = [...(await freePorts(3, () => 0)), ...engines].flatMap((ports): number[] => Object.values(ports));
    expect(new Set(both).size).toBe(both.length);
  });
});

describe('lockDataDir', () => {
  test('what a dead process left is taken over; a live fleet is named', () => {
    writeFileSync(join(folder, 'fleet.pid'), '999999999');
    const lock = lockDataDir(folder, process.pid);
    lock.release();
    lockDataDir(folder, process.pid).release();
  });
});

describe('endpoints', () => {
  test('are read as they were written; no fleet: how to start one', () => {
    const at = { otlpGrpc: 'a', otlpHttp: 'b', zipkin: 'c', jaegerThrift: 'd', regionApi: 'e', admin: 'f', pid: 1 };
    const endpoints = { regions: { x: at }, routers: { x: { http: 'g', pid: 2 } }, control: { url: 'h', pid: 3 } };
    expect(() => readEndpoints(folder)).toThrow(/npm start/);
    writeEndpoints(folder, endpoints);
    expect(readEndpoints(folder)).toEqual(endpoints);
  });
});
