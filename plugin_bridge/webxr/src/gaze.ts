// Where the eye looks, as far as a browser tells.
//
// WebXR has no eye tracking: input with the targetRayMode "gaze" follows the head, and so does the screen's middle. Only
// a "transient-pointer" may begin where the eye looks (as on Vision Pro), for as long as a pinch lasts. A mouse says
// nothing of the eye, so without a headset the gaze is unknown.
import { Quaternion, Vector3 } from "three";

export interface Gaze { known: boolean; x: number; y: number }

const DEGREES = 180 / Math.PI;

/** frame: of an immersive session; null on a screen. In degrees from the middle, to the right and downwards. */
export function gazeOf(frame: XRFrame | null, space: XRReferenceSpace | null): Gaze {
  const viewer = frame && space && frame.getViewerPose(space);
  if (!viewer) return { known: false, x: 0, y: 0 };
  const pinch = [...frame.session.inputSources].find(({ targetRayMode }) => targetRayMode === "transient-pointer");
  const ray = pinch && frame.getPose(pinch.targetRaySpace, space);
  if (!ray) return { known: true, x: 0, y: 0 };
  const turned = (pose: XRPose): Quaternion => new Quaternion().copy(pose.transform.orientation as unknown as Quaternion);
  const ahead = new Vector3(0, 0, -1).applyQuaternion(turned(ray)).applyQuaternion(turned(viewer).invert());
  return { known: true, x: Math.atan2(ahead.x, -ahead.z) * DEGREES, y: -Math.atan2(ahead.y, -ahead.z) * DEGREES };
}
