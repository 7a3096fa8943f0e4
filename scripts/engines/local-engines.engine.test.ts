import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { RegionId } from '../../global/model/ids.js';
import { realClock } from '../../global/runtime/clock.js';
import { compiledModule, packageRoot } from '../../global/runtime/package-root.js';
import { freeEnginePortsOfRegions } from '../fleet/ports.js';
import { enginePlaces, readEnginesFile } from './engine-kinds.js';
import { askEngine } from './engine-probes.js';
import type { EngineReport } from './engine-report.js';
import { LocalEngines, runningEngines, stopRunningEngines } from './local-engines.js';
import { enginesCache } from './maven-jars.js';
import { birthOf } from './pid-file.js';

const EAST = 'us-east-1' as RegionId;
const PATIENCE = { timeout: 60_000, interval: 100 };

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'meridian-local-engines-'));
});
afterEach(async () => {
  await stopRunningEngines(folder, realClock, () => {});
  rmSync(folder, { recursive: true, force: true });
});

function meridian(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [join(packageRoot, 'scripts/meridian.js'), ...args, '--data', folder],
      { env: { ...process.env, NODE_OPTIONS: '' } },
      (error, out, err) => resolve({ code: error ? Number(error.code) : 0, out, err }),
    );
  });
}

const running = () => runningEngines(folder).map(({ name }) => name);

test('engines up leaves them running, status and doctor ask them, down ends them', async () => {
  const up = await meridian('engines', 'up', '--regions', EAST, '--port-offset', 'auto');
  expect(up).toMatchObject({ code: 0, err: '' });
  expect(running()).toEqual([`${EAST}/kafka`, `${EAST}/elasticsearch`, `${EAST}/redis`]);

  const status = await meridian('engines', 'status', '--json');
  const { engines } = JSON.parse(status.out) as { engines: EngineReport[] };
  expect(engines.map(({ engine, state, version }) => [engine, state, version])).toEqual([
    ['kafka', 'up', '3.9'],
    ['elasticsearch', 'up', '8.19.21'],
    ['redis', 'up', expect.stringMatching(/^[78]\./)],
  ]);
  expect(engines.every(({ since, pid }) => since !== null && birthOf(pid!) !== null)).toBe(true);

  const again = await meridian('engines', 'up', '--regions', EAST, '--port-offset', 'auto');
  expect(again.code).toBe(2);
  expect(again.err).toContain('meridian engines down');

  const { pid } = engines.find(({ engine }) => engine === 'elasticsearch')!;
  process.kill(pid!, 'SIGKILL');
  await vi.waitFor(() => expect(birthOf(pid!)).toBe(null), PATIENCE);
  const doctor = await meridian('doctor', '--engines', 'local');
  expect(doctor.code).toBe(1);
  expect(doctor.out).toMatch(/^Elasticsearch of us-east-1 is down since \d\d:\d\d:\d\d .*Ingest of us-east-1 goes on/m);
  expect(doctor.err).toContain('1 of 3 engines are not well');
  expect((await meridian('engines', 'status')).code).toBe(3);

  const down = await meridian('engines', 'down');
  expect(down.code).toBe(0);
  expect(down.out).toContain('2 engines stopped');
  expect(runningEngines(folder)).toEqual([]);
  expect(engines.map((engine) => birthOf(engine.pid!))).toEqual([null, null, null]);
  expect((await meridian('engines', 'status')).err).toContain('no engines were started');
});

test('one that is killed comes back on its port and data; one that is stopped stays down', async () => {
  const [ports] = await freeEnginePortsOfRegions(1, Math.random, []);
  const states: string[] = [];
  const engines = new LocalEngines({
    dataDir: folder,
    cacheFolder: enginesCache(process.env),
    regions: [{ region: EAST, ports: ports! }],
    clock: realClock,
    onProgress: () => {},
    onState: (name, { state }) => states.push(`${name} ${state}`),
  });
  try {
    await engines.prepare();
    await engines.startStores();
    const watchOf = (kind: string) => engines.statuses().find((status) => status.kind === kind)!.watch;
    const { kafka, elasticsearch, redis } = engines.at(EAST);
    const before = watchOf('redis').pid;
    await engines.act(`${EAST}/redis`, 'kill');
    await vi.waitFor(() => expect(watchOf('redis')).toMatchObject({ state: 'up' }), PATIENCE);
    expect(watchOf('redis').pid).not.toBe(before);
    expect(await askEngine('redis', redis)).toMatchObject({ well: true });
    expect(states).toContain(`${EAST}/redis died`);

    await engines.act(`${EAST}/kafka`, 'stop');
    expect(watchOf('kafka')).toMatchObject({ state: 'stopped', pid: null });
    expect(await askEngine('kafka', kafka)).toMatchObject({
      well: false,
      detail: expect.stringContaining('does not answer'),
    });
    await expect(engines.act(`${EAST}/kafka`, 'stop')).rejects.toMatchObject({ code: 'refused' });
    await engines.act(`${EAST}/kafka`, 'start');
    expect(await askEngine('kafka', kafka)).toMatchObject({ well: true, version: '3.9' });
    expect(await askEngine('elasticsearch', elasticsearch)).toMatchObject({ well: true });
    await expect(engines.act(`${EAST}/nonesuch`, 'stop')).rejects.toMatchObject({ code: 'invalid' });
  } finally {
    await engines.stop();
  }
  expect(runningEngines(folder)).toEqual([]);
});

test('kill -9 of whoever started them leaves no engine', async () => {
  const [ports] = await freeEnginePortsOfRegions(1, Math.random, []);
  const options = { dataDir: folder, cacheFolder: enginesCache(process.env), regions: [{ region: EAST, ports }] };
  const parent = spawn(process.execPath, [
    '--input-type=module',
    '-e',
    `import { LocalEngines } from ${JSON.stringify(compiledModule('scripts/engines/local-engines'))};
     import { realClock } from ${JSON.stringify(compiledModule('global/runtime/clock'))};
     const engines = new LocalEngines({
       ...${JSON.stringify(options)}, clock: realClock, onProgress: () => {}, onState: () => {},
     });
     await engines.prepare();
     await engines.startStores();
     console.log(JSON.stringify(engines.statuses().map(({ watch }) => watch.pid)));
     setInterval(() => {}, 1000);`,
  ]);
  const pids = await new Promise<number[]>((resolve, reject) => {
    let said = '';
    parent.stderr.on('data', (text) => (said += String(text)));
    parent.stdout.once('data', (text) => resolve(JSON.parse(String(text)) as number[]));
    parent.once('exit', () => reject(new Error(`the parent ended by itself: ${said}`)));
  });
  expect(pids.map((pid) => birthOf(pid) !== null)).toEqual([true, true, true]);
  parent.kill('SIGKILL');
  await vi.waitFor(() => expect(pids.map(birthOf)).toEqual([null, null, null]), PATIENCE);
  expect(readEnginesFile(folder)?.startedBy).toBe('fleet');
  expect(enginePlaces(folder, readEnginesFile(folder)!.regions)).toHaveLength(3);
});
