package s3

import (
	"cmp"
	"os"
	"path/filepath"

	"gopkg.in/ini.v1"
)

// profile is the part of the AWS configuration file that says where the service is.
type profile struct{ section *ini.Section } // nil: there is none

// readProfile reads the profile that AWS_PROFILE names, or the default one. A file that cannot be read
// counts as none: it is needed only if the environment does not say the same.
func readProfile() profile {
	name := cmp.Or(os.Getenv("AWS_CONFIG_FILE"), homeFile())
	file, err := ini.Load(name)
	if err != nil {
		return profile{}
	}
	section := cmp.Or(os.Getenv("AWS_PROFILE"), "default")
	for _, title := range []string{"profile " + section, section} {
		if s, err := file.GetSection(title); err == nil {
			return profile{s}
		}
	}
	return profile{}
}

func homeFile() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".aws", "config")
}

func (p profile) key(name string) string {
	if p.section == nil {
		return ""
	}
	return p.section.Key(name).String()
}

// endpoint returns the service's URL; given is that of the options. Empty: AWS.
func (p profile) endpoint(given string) string {
	return cmp.Or(given, os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"), p.key("endpoint_url"))
}

// region returns the region; empty: the service is asked.
func (p profile) region() string {
	return cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), p.key("region"))
}
