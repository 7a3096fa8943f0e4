import { createServer, type Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import type { RegionId } from '../../../global/model/ids.js';
import { indexesEqual } from '../index-digests.js';
import { EAST, EUROPE, eventually, type TestFleet, THREE, WEST } from '../test-fleet.js';
import { type AcknowledgedTrace, missingOrDouble, seededIds, sendTrace } from '../traffic.js';

interface TraceAnswer {
  complete: boolean;
  spanCount: number;
  regions: { region: string; state: string; reason?: string; since?: string }[];
}

interface IndexAnswer {
  plan: { region: string; action: string; why: string }[];
}

/** Cuts what carries `from`'s feed to `at`, and joins it again. */
export interface LinkSwitch {
  cut(at: RegionId, from: RegionId): Promise<void>;
  heal(at: RegionId, from: RegionId): Promise<void>;
}

/** Ro3, Ro4, Ix5: regions that are away, hung or cut off, on real processes. */
export function regionsAwaySuite(fleet: () => TestFleet, link: LinkSwitch): void {
  const ids = seededIds(7);

  async function wholeTrace(regions: readonly RegionId[] = THREE): Promise<AcknowledgedTrace> {
    const trace = await sendTrace(fleet(), regions, ids);
    expect(await missingOrDouble(fleet(), WEST, [trace])).toEqual([]);
    return trace;
  }

  const regionOf = (answer: TraceAnswer, region: RegionId) => answer.regions.find((r) => r.region === region)!;

  describe('a region that was killed', () => {
    test('is named with reason and since; the rest is answered; after its return the trace is whole', async () => {
      const trace = await wholeTrace();
      const beforeMs = Date.now();
      await fleet().stopRegion(EAST, true);
      const partial = await fleet().json<TraceAnswer>(WEST, `/v1/traces/${trace.traceId}?deadline=2s`);
      expect(partial.complete).toBe(false);
      expect(partial.spanCount).toBe(trace.spanIds.length - 2);
      expect(partial.regions.map((r) => r.region).sort()).toEqual([...THREE].sort());
      const east = regionOf(partial, EAST);
      expect(east.state).toBe('unavailable');
      expect(east.reason).toMatch(/\S/);
      expect(Date.parse(east.since!)).toBeGreaterThan(beforeMs - 2000);

      const refused = await fleet().get(WEST, `/v1/traces/${trace.traceId}?partial=refuse&deadline=2s`);
      expect(refused.status).toBe(503);
      expect(refused.headers.get('content-type')).toContain('application/problem+json');
      expect(await refused.json()).toMatchObject({ retry: 'later' });

      const search = await fleet().json<TraceAnswer>(WEST, '/v1/traces?limit=5&deadline=2s');
      expect(search.complete).toBe(false);
      expect(regionOf(search, EAST).state).toBe('unavailable');

      await fleet().startRegion(EAST);
      expect(await missingOrDouble(fleet(), WEST, [trace])).toEqual([]);
      const whole = await fleet().json<TraceAnswer>(WEST, `/v1/traces/${trace.traceId}`);
      expect(whole.complete).toBe(true);
    });
  });

  describe('a region that hangs', () => {
    test('costs no more than the deadline and is reported as timed out', async () => {
      const trace = await wholeTrace();
      const pid = fleet().pid(EUROPE);
      process.kill(pid, 'SIGSTOP');
      try {
        const answer = await fleet().json<TraceAnswer>(WEST, `/v1/traces/${trace.traceId}?deadline=700ms`);
        expect(answer.complete).toBe(false);
        expect(answer.spanCount).toBe(trace.spanIds.length - 1);
        expect(['timeout', 'unavailable']).toContain(regionOf(answer, EUROPE).state);
        expect(regionOf(answer, EUROPE).since).toBeDefined();
      } finally {
        process.kill(pid, 'SIGCONT');
      }
      await eventually('whole again', async () => {
        const answer = await fleet().json<TraceAnswer>(WEST, `/v1/traces/${trace.traceId}`);
        return answer.complete ? { value: true } : { failure: JSON.stringify(answer.regions) };
      });
    });
  });

  describe('a region that answers with garbage', () => {
    test('is one that is missing; the rest is answered within the deadline', async () => {
      const trace = await wholeTrace();
      const [host, port] = fleet().endpoints.regions[EAST]!.regionApi.split(':') as [string, string];
      await fleet().stopRegion(EAST, true);
      const sockets = new Set<Socket>();
      const babbler = createServer((socket) => {
        sockets.add(socket);
        socket.on('error', () => {});
        socket.on('data', () => socket.write('HTTP/1.1 418 no region\r\n\r\n'));
      });
      await new Promise<void>((resolve) => babbler.listen(Number(port), host, resolve));
      try {
        const answer = await fleet().json<TraceAnswer>(WEST, `/v1/traces/${trace.traceId}?deadline=700ms`);
        expect(answer.complete).toBe(false);
        expect(answer.spanCount).toBe(trace.spanIds.length - 2);
        expect(['timeout', 'unavailable']).toContain(regionOf(answer, EAST).state);
        expect(regionOf(answer, EAST).reason).toMatch(/\S/);
      } finally {
        await new Promise<void>((resolve) => {
          babbler.close(() => resolve());
          for (const socket of sockets) socket.destroy();
        });
        await fleet().startRegion(EAST);
      }
      expect(await missingOrDouble(fleet(), WEST, [trace])).toEqual([]);
    });
  });

  describe('a link that was cut', () => {
    test('answers stay right while it is cut; once healed the copies are equal by digest', async () => {
      await link.cut(WEST, EAST);
      const traces = [await wholeTrace(), await wholeTrace([EAST, EUROPE]), await wholeTrace([EAST])];
      const answer = await fleet().json<TraceAnswer>(WEST, `/v1/traces/${traces[2]!.traceId}`);
      expect(answer.complete).toBe(true);
      expect(answer.spanCount).toBe(1);
      await link.heal(WEST, EAST);

      await indexesEqual(fleet());
    });
  });

  describe('an old trace', () => {
    test('asks only the regions that hold a part, and the index tells the proof', async () => {
      const trace = await wholeTrace([EAST, EUROPE]);
      const plan = await eventually('west skipped', async () => {
        const index = await fleet().json<IndexAnswer>(EUROPE, `/v1/index/${trace.traceId}`);
        const west = index.plan.find((p) => p.region === WEST);
        return west?.action === 'skip' ? { value: index.plan } : { failure: JSON.stringify(index.plan) };
      });
      expect(
        plan
          .filter((p) => p.action === 'ask')
          .map((p) => p.region)
          .sort(),
      ).toEqual([EAST, EUROPE].sort());
      expect(plan.find((p) => p.region === WEST)!.why).toMatch(/watermark/);
      const answer = await fleet().json<TraceAnswer>(EUROPE, `/v1/traces/${trace.traceId}`);
      expect(answer.complete).toBe(true);
      expect(regionOf(answer, WEST).state).toBe('skipped');
    });

    test('a skipped region may even be down', async () => {
      const trace = await wholeTrace([EAST, EUROPE]);
      await eventually('west skipped', async () => {
        const index = await fleet().json<IndexAnswer>(EUROPE, `/v1/index/${trace.traceId}`);
        return index.plan.some((p) => p.region === WEST && p.action === 'skip')
          ? { value: true }
          : { failure: JSON.stringify(index.plan) };
      });
      await fleet().stopRegion(WEST, true);
      const answer = await fleet().json<TraceAnswer>(EUROPE, `/v1/traces/${trace.traceId}`);
      expect(answer.complete).toBe(true);
      expect(answer.spanCount).toBe(trace.spanIds.length);
      await fleet().startRegion(WEST);
    });
  });
}
