import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../global/runtime/clock.js';
import { silentLogger } from '../../global/runtime/logger.js';
import type { LivePeer } from './live-peer.js';
import { DNS_MS, LivePeers, PEERS_MAX } from './live-peers.js';

function peersOf(peers: readonly string[], resolve: (name: string) => Promise<readonly string[]> = async () => []) {
  const clock = new ManualClock();
  const closed: string[] = [];
  let connected = 0;
  const connect = (address: string): LivePeer => {
    connected++;
    const refuse = () => Promise.reject(new Error('not asked'));
    return { address, getLive: refuse, searchLive: refuse, close: () => closed.push(address) };
  };
  const live = new LivePeers({ peers, connect, clock, logger: silentLogger, resolve });
  const addresses = async () => (await live.current()).map(({ address }) => address);
  return { live, clock, closed, addresses, connected: () => connected };
}

describe('peers', () => {
  test('fixed addresses, each once; its own is left out as soon as it is known', async () => {
    const { live, addresses, connected } = peersOf(['a:1', 'b:2', 'a:1', '[::1]:3']);
    expect(await addresses()).toEqual(['a:1', 'b:2', '[::1]:3']);
    live.isSelf('b:2');
    expect(await addresses()).toEqual(['a:1', '[::1]:3']);
    expect(connected()).toBe(3);
    expect(live.isEmpty).toBe(false);
    expect(peersOf([]).live.isEmpty).toBe(true);
  });

  test('a name stands for all of its addresses, asked for again after a while; a channel goes with its address', async () => {
    let found = ['10.0.0.2', '10.0.0.1', 'fd00::1'];
    let asked = 0;
    const { clock, addresses, closed } = peersOf(['dns:processes.local:7001'], async (name) => {
      expect(name).toBe('processes.local');
      asked++;
      return found;
    });
    expect(await addresses()).toEqual(['10.0.0.1:7001', '10.0.0.2:7001', '[fd00::1]:7001']);
    found = ['10.0.0.2', '10.0.0.3'];
    await clock.advance(DNS_MS - 1);
    await addresses();
    expect(asked).toBe(1);
    await clock.advance(1);
    // What was said last is used while the name service is asked again.
    expect(await addresses()).toHaveLength(3);
    expect(asked).toBe(2);
    expect(await addresses()).toEqual(['10.0.0.2:7001', '10.0.0.3:7001']);
    expect(closed).toEqual(['10.0.0.1:7001', '[fd00::1]:7001']);
  });

  test('a name service that fails: what it said last stays', async () => {
    let fails = true;
    const { clock, addresses } = peersOf(['dns:processes.local:7001'], async () => {
      if (fails) throw new Error('SERVFAIL');
      return ['10.0.0.1'];
    });
    expect(await addresses()).toEqual([]);
    fails = false;
    expect(await addresses()).toEqual(['10.0.0.1:7001']);
    fails = true;
    await clock.advance(10 * DNS_MS);
    for (let i = 0; i < 3; i++) expect(await addresses()).toEqual(['10.0.0.1:7001']);
  });

  test('no more than the limit are asked', async () => {
    const many = (count: number) => Array.from({ length: count }, (_, i) => `10.0.0.${i}`);
    const name = ['dns:processes.local:1'];
    expect(await peersOf(name, async () => many(PEERS_MAX)).addresses()).toHaveLength(PEERS_MAX);
    expect(await peersOf(name, async () => many(PEERS_MAX + 1)).addresses()).toHaveLength(PEERS_MAX);
    const fixed = (count: number) => many(count).map((host) => `${host}:1`);
    expect(() => peersOf(fixed(PEERS_MAX))).not.toThrow();
    expect(() => peersOf(fixed(PEERS_MAX + 1))).toThrow(`peers: ${PEERS_MAX + 1} processes are named`);
  });

  test.each(['', 'a', 'a:', 'a:0', 'a:65536', 'a:b', 'dns:a', 'dns::1', 'http://a:1', 'a b:1', '::1:1'])(
    '"%s" is no peer',
    (peer) => {
      expect(() => peersOf([peer])).toThrow(expect.objectContaining({ code: 'configuration' }));
    },
  );
});
