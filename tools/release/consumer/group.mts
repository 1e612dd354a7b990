/** A user's program that is to train in several processes: release:check runs it where Gloo isn't. */

import { openProcessGroup } from 'kalman-norm';

const group = await openProcessGroup();
group.close();
