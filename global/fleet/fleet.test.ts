import { describe, expect, test } from 'vitest';
import type { RegionId } from '../model/ids.js';
import { fleetRegion, parseFleet } from './fleet.js';

const entry = (region: string, more = {}) => ({ region, regionApi: 'host:7001', ...more });

describe('parseFleet', () => {
  test('fills in standby and partitions', () => {
    const fleet = parseFleet({ regions: [entry('a', { standby: 'b', partitions: { spans: 100 } }), entry('b')] }, 'f');
    expect(fleet.regions[0]).toMatchObject({ standby: 'b', partitions: { spans: 100, segments: 4, traceMetadata: 4 } });
    expect(fleet.regions[1]).toMatchObject({ standby: null, partitions: { spans: 8, segments: 4, traceMetadata: 4 } });
  });

  test.each([
    [{ regions: [] }, /f: regions/],
    [{ regions: [entry('A')] }, /regions\.0\.region: "A" is no region name/],
    [{ regions: [entry('a'), entry('a')] }, /named twice/],
    [{ regions: [entry('a', { standby: 'z' })] }, /"z" is no other region/],
    [{ regions: [entry('a', { standby: 'a' })] }, /"a" is no other region/],
    [{ regions: [entry('a', { partitions: { spans: 0 } })] }, /partitions\.spans/],
    [{ regions: [entry('a', { partitons: {} })] }, /partitons/],
    [null, /f: fleet/],
  ])('%j is refused', (value, message) => {
    expect(() => parseFleet(value, 'f')).toThrow(message);
  });

  test('a region that is not there', () => {
    const fleet = parseFleet({ regions: [entry('a')] }, 'f');
    expect(() => fleetRegion(fleet, 'b' as RegionId)).toThrow(/"b" is not in the fleet/);
  });
});
