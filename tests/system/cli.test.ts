import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packageRoot } from '../../global/runtime/package-root.js';
import { runMeridian } from './meridian-command.js';
import { EAST, EUROPE, eventually, TestFleet, THREE, WEST } from './test-fleet.js';

/** The commands as a person types them, against a running fleet: what they print and what they exit with. */

let fleet: TestFleet;
beforeAll(async () => {
  fleet = await new TestFleet({ regionOptions: { assemblerSettleMs: 150 } }).start();
});
afterAll(() => fleet.stop());

const meridian = (...args: string[]) => runMeridian(fleet.dataDir, args);

async function sentTrace(...more: string[]): Promise<string> {
  const { code, out } = await meridian('send', ...more);
  expect(code).toBe(0);
  const id = out.trim();
  expect(id).toMatch(/^[0-9a-f]{32}$/);
  return id;
}

const whole = (id: string) =>
  eventually(`trace ${id} whole`, async () => {
    const result = await meridian('trace', id);
    return result.code === 0 && result.out.includes('5 spans in 3 regions')
      ? { value: result }
      : { failure: result.out + result.err };
  });

describe('meridian', () => {
  test('send, then trace draws every span with its region', async () => {
    const id = await sentTrace();
    const { out } = await whole(id);
    expect(out).toContain('complete');
    for (const region of THREE) expect(out).toMatch(new RegExp(`^${region} .*known-`, 'm'));
    expect(out).not.toContain('\u001b');
  });

  test("trace --json and --otlp are the router's own", async () => {
    const id = await sentTrace();
    await whole(id);
    const json = JSON.parse((await meridian('trace', id, '--json')).out) as { traceId: string; spans: unknown[] };
    expect([json.traceId, json.spans.length]).toEqual([id, 5]);
    const otlp = JSON.parse((await meridian('trace', id, '--otlp')).out) as { resourceSpans: unknown[] };
    expect(otlp.resourceSpans.length).toBeGreaterThan(0);
  });

  test('search finds by service, attribute and region; pages by cursor', async () => {
    const id = await sentTrace();
    await whole(id);
    const found = await eventually('search', async () => {
      const result = await meridian('search', '--service', 'known-1', '--attr', `meridian.known=${WEST}-1`);
      return result.out.includes(id) ? { value: result } : { failure: result.out + result.err };
    });
    expect(found.code).toBe(0);
    expect(found.out).toContain('known-0 GET /step/0');
    const page = JSON.parse((await meridian('search', '--limit', '1', '--json')).out) as {
      traces: unknown[];
      nextCursor: string;
    };
    expect(page.traces).toHaveLength(1);
    const next = await meridian('search', '--limit', '1', '--json', '--cursor', page.nextCursor);
    expect(JSON.parse(next.out).traces[0]).not.toEqual(page.traces[0]);
  });

  test('index shows records, watermarks and the plan', async () => {
    const id = await sentTrace('--regions', `${EAST},${EUROPE}`);
    const { out } = await eventually('west skipped', async () => {
      const result = await meridian('index', id);
      return /us-west-2 +skip/.test(result.out) ? { value: result } : { failure: result.out + result.err };
    });
    expect(out).toMatch(/us-east-1 +ask/);
    expect(out).toMatch(/eu-west-1 +ask/);
    expect(out).toMatch(/us-west-2 +skip +.*watermark/);
  });

  test('status and doctor: all is well', async () => {
    const status = await eventually('healthy', async () => {
      const result = await meridian('status');
      return result.code === 0 ? { value: result } : { failure: result.out + result.err };
    });
    expect(status.out.match(/healthy/g)).toHaveLength(3);
    const doctor = await meridian('doctor');
    expect(doctor.err).toContain('all 6 processes are well');
    expect(doctor.code).toBe(0);
  });

  test('stop --kill, a partial trace with exit code 3, start, whole again', async () => {
    const id = await sentTrace();
    await whole(id);
    expect((await meridian('stop', EAST, '--kill')).code).toBe(0);
    const partial = await meridian('trace', id);
    expect(partial.code).toBe(3);
    expect(partial.out).toMatch(/missing us-east-1: unavailable: .*since 20\d\d-/);
    expect(partial.out).toContain('known-1');
    expect((await meridian('doctor')).code).toBe(1);
    expect((await meridian('stop', EAST)).code).toBe(2);
    expect((await meridian('start', EAST)).code).toBe(0);
    await whole(id);
  });

  test('replay and reconcile report what they did', async () => {
    const replay = await meridian('replay', '--region', WEST, '--view', 'index');
    expect(replay.out + replay.err).toContain('index of us-west-2 rebuilt from earliest');
    expect(replay.code).toBe(0);
    const store = await meridian('replay', '--region', WEST, '--view', 'store', '--from', '2020-01-01');
    expect(store.code).toBe(0);
    const reconcile = await meridian('reconcile');
    expect(reconcile.code).toBe(0);
    expect(reconcile.out).toMatch(/us-west-2 +us-east-1 +\d+ +0 +0/);
  });

  test.each([
    ['an unknown option', ['trace', 'ab'.repeat(16), '--jsn'], 2, /--json/],
    ['an unknown command', ['trase'], 2, /trace/],
    ['an id that is none', ['trace', 'xyz'], 2, /no trace id/],
    ['a trace that nobody has', ['trace', 'ab'.repeat(16)], 1, /ab{1}/],
    ['a region that is not there', ['stop', 'mars-1'], 2, /us-east-1/],
    ['a data folder without a fleet', ['status', '--data', '/nonexistent'], 1, /npm start/],
    ['an unknown search value', ['search', '--kind', 'sideways'], 2, /kind/],
  ])('%s: says what is wrong', async (_name, args, code, message) => {
    const result = await meridian(...args);
    expect(result.err).toMatch(message);
    expect(result.code).toBe(code);
  });

  test('every command has --help', { timeout: 60_000 }, async () => {
    /** The commands that a help lists, with what they are below. */
    const listed = async (...above: string[]) => {
      const { code, out } = await meridian(...above, '--help');
      expect([above, code]).toEqual([above, 0]);
      const commands = out.split(/^Commands:$/m)[1] ?? '';
      return [...commands.matchAll(/^ {2}([a-z-]+)(?= )/gm)]
        .map((match) => match[1]!)
        .filter((name) => name !== 'help')
        .map((name) => [...above, name].join(' '));
    };
    const commands: string[] = [];
    for (const name of await listed()) commands.push(name, ...(await listed(name)));
    expect(commands).toEqual([
      'fleet',
      'stop',
      'start',
      'region',
      'router',
      'send',
      'trace',
      'search',
      'index',
      'status',
      'replay',
      'reconcile',
      'snapshot',
      'snapshot create',
      'snapshot list',
      'snapshot restore',
      'doctor',
      'engines',
      'engines up',
      'engines status',
      'engines down',
      'engines stop',
      'engines start',
      'engines kill',
      'mirror-config',
      'mirror-prepare',
    ]);
    for (const name of commands.filter((command) => command.includes(' '))) await listed(...name.split(' '));
  });
});

describe('meridian fleet', () => {
  test('a second fleet in the same folder says so and exits 2; Ctrl-C drains; children die with a killed parent', {
    timeout: 90_000,
  }, async () => {
    const data = join(fleet.dataDir, 'second');
    const args = ['fleet', '--data', data, '--workload', 'off', '--regions', 'us-east-1', '--port-offset', 'auto'];
    const command = join(packageRoot, 'scripts/meridian.js');
    const start = () =>
      spawn(process.execPath, [command, ...args], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, NODE_OPTIONS: '' },
      });
    const ready = (child: ReturnType<typeof start>) =>
      new Promise<string>((resolve) => {
        let text = '';
        child.stdout!.on('data', (chunk) => {
          text += chunk;
          if (text.includes('OTLP HTTP') && text.trimEnd().split('\n').at(-1)!.includes('http')) resolve(text);
        });
      });
    const first = start();
    await ready(first);
    const second = await meridian(...args);
    expect(second.code).toBe(2);
    expect(second.err).toContain('running');
    const ended = new Promise<number | null>((resolve) => first.once('exit', resolve));
    first.kill('SIGINT');
    expect(await ended).toBe(0);

    const third = start();
    await ready(third);
    const { readEndpoints } = await import('../../scripts/fleet/endpoints.js');
    const children = [readEndpoints(data).regions[EAST]!.pid, readEndpoints(data).routers[EAST]!.pid];
    const gone = new Promise((resolve) => third.once('exit', resolve));
    third.kill('SIGKILL');
    await gone;
    await eventually('children gone', async () => {
      const alive = children.filter((pid) => {
        try {
          process.kill(pid, 0);
          return true;
        } catch {
          return false;
        }
      });
      return alive.length === 0 ? { value: true } : { failure: `alive: ${alive}` };
    });
  });
});
