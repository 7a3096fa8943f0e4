import { parseRegionId, type RegionId } from '../../global/model/ids.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { checkPortsFree, fixedPorts, freePorts, REGIONS_MAX, type RegionPorts } from '../fleet/ports.js';

/** `--regions a,b,c`. Throws `invalid`. */
export function regionNames(list: string): RegionId[] {
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

/** Throws `invalid` that names the option. */
export function wholeNumber(option: string, text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new MeridianError('invalid', `${option}: "${text}" is no whole number`, 'never');
  return Number(text);
}

/** The ports of `--port-offset N|auto`, free at the moment; throws `configuration` that names one that is taken. */
export async function choosePorts(offset: string, names: readonly RegionId[]): Promise<RegionPorts[]> {
  if (offset === 'auto') return freePorts(names.length, Math.random);
  const ports = names.map((_, i) => fixedPorts(i, wholeNumber('--port-offset', offset)));
  await checkPortsFree(names.map((region, i) => ({ region, ports: ports[i]! })));
  return ports;
}
